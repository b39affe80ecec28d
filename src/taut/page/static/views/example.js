// One example under the microscope: what q says of it, what that rebuilds, and how tight the bound on it is.
import { button, check, clear, h, plain, select } from '../parts/controls.js'
import { picture, sheet } from '../parts/picture.js'
import { dressed, extent, figure, histogram, number, padded, ramp, rgb, short, standalone } from '../parts/plot.js'

dressed(import.meta.url, 'records.css')

export const name = 'example'
export const title = 'Example'

const FEW = 24 // latents that are drawn before all are asked for

export function unavailable (run) {
  if (!run.finished) return 'The training is not finished, so there is no model to look through yet; see Training.'
  if (!run.layers.length) return 'This model has no latents, so no example has a posterior. Its distortion is ' + ((run.summary?.exactness ?? 'exact') === 'exact' ? '−log p(x) itself' : 'a bound of −log p(x)') + '; see Truth.'
  return null
}

export async function mount (root, ctx) {
  const { run, state } = ctx
  let example = Math.max(0, Math.round(state.get('example', 0))); let seed = 0; let all = false; let layer = 0
  let seen = null; let exact = null; let turn = 0; let stopped = false
  const charts = []

  const typed = h('input', { type: 'number', min: 0, step: 1, value: example, 'aria-label': 'number of the test example', onchange: () => go(Number(typed.value)) })
  const of = h('span', { class: 'small' })
  const x = picture(run, ctx.colours, { room: 240, label: 'the example' })
  const facts = h('dl', { class: 'facts' })
  const said = h('p', { class: 'small', 'aria-live': 'polite' })
  const sheets = sheet(run, ctx.colours, 'rebuilt: the centre first, then draws of q')
  const layers = h('span')
  const more = check('all latents', false, now => { all = now; chart.posterior.redraw() })
  const places = Object.fromEntries(['posterior', 'exact', 'weights', 'growth'].map(key => [key, h('div')]))
  const blocks = {
    posterior: block('Its posterior beside the prior', places.posterior, h('div', { class: 'bar' }, layers, more)),
    rebuilt: block('Rebuilt', sheets.element),
    exact: block('The exact posterior', places.exact),
    weights: block('Importance weights', places.weights),
    growth: block('The bound as draws are added', places.growth)
  }
  const lens = h('div', { class: 'lens', hidden: true })
  said.textContent = 'The model is being loaded …'
  root.append(h('h1', {}, 'One example'),
    h('div', { class: 'bar' }, button('‹', () => go(example - 1), { 'aria-label': 'the example before' }), typed, button('›', () => go(example + 1), { 'aria-label': 'the next example' }), of,
      button('Another', () => go(Math.floor(Math.random() * (seen?.examples ?? 100)))), button('Draw anew', () => { seed++; ask() })),
    said, lens)
  lens.append(
      h('div', {}, x.element, facts),
      h('div', {}, blocks.posterior, blocks.rebuilt, blocks.exact, h('div', { class: 'two-wide' }, blocks.weights, blocks.growth)))

  function block (words, place, tools = null) {
    const note = h('p')
    const made = h('section', { class: 'block' }, h('h2', {}, words), tools, place, note)
    made.note = text => { note.textContent = text }
    return made
  }
  function chartIn (key, options, draw) {
    const made = figure(places[key], options, draw)
    charts.push(made)
    blocks[key].append(h('p', { class: 'corner' }, button('Save as SVG', () => ctx.save(standalone(made.svg), `example-${example}-${key}.svg`), { class: 'quiet' })))
    return made
  }

  const chart = {}
  const order = () => {
    const kl = seen.arrays[`kl${layer}`].data
    const n = seen.layers[layer].size
    const apart = kl.length === n
    const list = Array.from({ length: n }, (_, i) => i)
    if (apart) list.sort((a, b) => kl[b] - kl[a])
    return { list: all ? list : list.slice(0, FEW), apart, kl }
  }
  chart.posterior = chartIn('posterior', {
    height: () => seen ? 60 + 19 * order().list.length : 120, label: 'μ and σ of each latent against the prior', margin: { left: 54, right: 86, top: 22, bottom: 38 }
  }, c => {
    if (!seen) return
    const { list, apart, kl } = order()
    const { mean, std, prior_mean: pm, prior_std: ps } = Object.fromEntries(['mean', 'std', 'prior_mean', 'prior_std'].map(k => [k, seen.arrays[`${k}${layer}`].data]))
    const wide = padded(extent([-2.4, 2.4], list.map(i => mean[i] - 2 * std[i]), list.map(i => mean[i] + 2 * std[i])), 0.03)
    c.axes({ x: { domain: wide, label: 'z' }, y: { domain: [list.length, 0], bare: true } })
    const most = Math.max(1e-9, ...kl)
    c.add('text', { x: c.left - 8, y: c.top - 8, 'text-anchor': 'end', class: 'name' }, 'latent')
    if (apart) c.add('text', { x: c.right + 10, y: c.top - 8, class: 'name' }, 'KL, nats')
    list.forEach((d, i) => {
      const y = i + 0.5
      const dead = apart && kl[d] < 0.01
      const ink = dead ? 'var(--quiet)' : 'var(--ink)'
      if (Number.isFinite(ps[d])) c.rect(Math.max(wide[0], pm[d] - ps[d]), i + 0.14, Math.min(wide[1], pm[d] + ps[d]), i + 0.86, { colour: 'var(--quiet)', opacity: 0.14 })
      if (std[d] > 0) {
        c.line([[mean[d] - 2 * std[d], y], [mean[d] + 2 * std[d], y]], { colour: ink, width: 1 })
        c.line([[mean[d] - std[d], y], [mean[d] + std[d], y]], { colour: ink, width: 4 })
      }
      c.dot(mean[d], y, { radius: 3.2, colour: ink, title: `latent ${d}: μ ${plain(mean[d], 3)}, σ ${plain(std[d], 3)}` })
      c.add('text', { x: c.left - 8, y: c.y(y) + 4, 'text-anchor': 'end', class: 'tick' }, String(d))
      if (apart) {
        c.add('rect', { x: c.right + 10, y: c.y(i + 0.3), width: Math.max(0.5, kl[d] / most * 34), height: Math.max(2, c.y(i + 0.7) - c.y(i + 0.3)), fill: ink })
        c.add('text', { x: c.right + 50, y: c.y(y) + 4, class: 'tick' }, plain(kl[d]))
      }
    })
  })
  chart.weights = chartIn('weights', { height: 230, label: 'histogram of log weights', margin: { top: 22 } }, c => {
    const w = seen?.arrays.log_weights?.data
    if (!w) return
    const bins = histogram(w, 32)
    const high = Math.max(...bins.map(b => b.count))
    c.axes({ x: { domain: padded(extent(w)), label: 'log w, nats' }, y: { domain: [0, high * 1.12], label: `draws, of ${w.length.toLocaleString('en-US')}`, lines: false } })
    for (const b of bins) if (b.count) c.rect(b.low, 0, b.high, b.count, { colour: 'var(--quiet)', opacity: 0.55 })
    const iw = seen.arrays.iw_mean.data.at(-1)
    const elbo = -seen.distortion - seen.rate
    c.rule({ x: elbo }, { colour: 'var(--ink)', dash: null })
    c.rule({ x: iw }, { colour: 'var(--ink)' })
    const near = Math.abs(c.x(iw) - c.x(elbo)) < 90
    c.say(elbo, high * 1.12, 'ELBO', { anchor: 'end', dx: -5, dy: 4 })
    c.say(iw, high * 1.12, `IW-${seen.arrays.iw_k.data.at(-1)}`, { dx: 5, dy: near ? 4 : 4 })
  })
  chart.growth = chartIn('growth', { height: 230, label: 'IW-k as k grows', margin: { top: 22, right: 66 } }, c => {
    const a = seen?.arrays
    if (!a?.iw_k) return
    const k = a.iw_k.data
    const span = [1, Math.max(k.at(-1), 2)]
    const values = extent(a.iw_low.data, a.iw_high.data, exact ? [exact.log_p] : [])
    c.axes({ x: { domain: span, log: true, label: 'k' }, y: { domain: padded(values, 0.08), label: 'nats' } })
    c.band(k, a.iw_low.data, a.iw_high.data)
    c.line(Array.from(k, (v, i) => [v, a.iw_mean.data[i]]))
    const ends = [{ y: a.iw_mean.data.at(-1), text: `IW-k` }]
    if (exact) { c.rule({ y: exact.log_p }, { colour: 'var(--ink)' }); ends.push({ y: exact.log_p, text: 'log p(x)' }) }
    c.ends(ends)
  })
  chart.exact = chartIn('exact', { height: w => exact?.arrays.axis1 ? Math.min(w, 420) - 6 : 220, label: 'p(z|x) by quadrature beside q', margin: w => ({ right: Math.max(16, w - 420) }) }, c => {
    if (!exact) return
    const { axis0, axis1, posterior, q, prior } = exact.arrays
    if (axis1) {
      const n = axis0.data.length
      const high = posterior.data.reduce((a, b) => Math.max(a, b), -Infinity)
      const density = new Float32Array(n * n)
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) density[j * n + i] = Math.exp(posterior.data[i * n + j] - high)
      const paper = rgb(getComputedStyle(document.documentElement).getPropertyValue('--paper'))
      const colour = ramp()
      const span = [[axis0.data[0], axis0.data.at(-1)], [axis1.data[0], axis1.data.at(-1)]]
      c.axes({ x: { domain: span[0], label: 'z₀' }, y: { domain: span[1], label: 'z₁', lines: false } })
      c.heat(density, n, n, { x: span[0], y: span[1], domain: [0, 1], smooth: true, colour: t => colour(t).map((v, k) => paper[k] + (v - paper[k]) * Math.min(1, t * 4)) })
      if (q) {
        const top = q.data.reduce((a, b) => Math.max(a, b), -Infinity)
        for (const level of [0.5, 2, 4.5]) c.contour(q.data, axis0.data, axis1.data, top - level, { colour: 'var(--ink)', width: 1.3 })
      }
      c.dot(exact.centre[0], exact.centre[1], { radius: 3 })
      return
    }
    const z = axis0.data
    const curves = [['p(z|x)', posterior.data, 'var(--ink)'], q && ['q(z|x)', q.data, 'var(--ink)', '5 3'], ['p(z)', prior.data, 'var(--quiet)', '2 3']].filter(Boolean)
    const high = Math.max(...curves.map(([, v]) => v.reduce((a, b) => Math.max(a, Math.exp(b)), 0)))
    c.axes({ x: { domain: [z[0], z.at(-1)], label: 'z' }, y: { domain: [0, high * 1.1], label: 'density' } })
    for (const [words, v, colour, dash] of curves) {
      c.line(Array.from(z, (a, i) => [a, Math.exp(v[i])]), { colour, dash })
      const best = v.indexOf(v.reduce((a, b) => Math.max(a, b), -Infinity))
      c.say(z[best], Math.exp(v[best]), words, { dx: 8, dy: words === 'q(z|x)' ? 12 : -2, colour })
    }
  })

  function go (to) {
    const last = (seen?.examples ?? to + 1) - 1
    example = Number.isFinite(to) ? Math.min(last, Math.max(0, Math.round(to))) : 0
    typed.value = example
    state.set('example', example)
    ask()
  }

  async function ask () {
    const now = ++turn
    let found
    try {
      found = await ctx.ask('examine', { example, draws: 11, seed }, 'examine')
    } catch (error) {
      if (now === turn && !stopped) said.textContent = error.message
      return
    }
    if (stopped || now !== turn) return
    seen = found
    lens.hidden = false
    if (exact?.example !== example) exact = null
    layer = Math.min(layer, seen.layers.length - 1)
    show()
    try {
      const got = await ctx.ask('exact', { example }, 'exact')
      if (stopped || now !== turn) return
      exact = Object.assign(got, { example })
      blocks.exact.hidden = false
      blocks.exact.note(`Colour: p(z|x), with ${exact.peaks === 1 ? 'one peak' : `${exact.peaks} peaks`}. ${got.arrays.q ? (got.arrays.axis1 ? 'Lines: q at one, two and three σ. ' : '') : 'q is a point. '}log p(x) = ${number(exact.log_p)} nats, by quadrature.`)
    } catch (error) {
      if (stopped || now !== turn) return
      exact = null
      blocks.exact.querySelectorAll('svg, p:last-child').forEach(node => { node.hidden = true })
      places.exact.hidden = true
      blocks.exact.note(`Not to be had: ${error.message}.`)
    }
    chart.exact.redraw(); chart.growth.redraw()
  }

  function show () {
    const labels = run.facts?.label_names
    x.draw(seen.arrays.x)
    typed.max = seen.examples - 1
    of.textContent = `of ${seen.examples.toLocaleString('en-US')} test examples`
    const iw = seen.arrays.iw_mean
    const rows = [
      seen.label === null ? null : ['label', labels?.[seen.label] ?? String(seen.label)],
      ['distortion', `${number(seen.distortion)} nats`],
      ['rate', seen.rate === null ? 'none' : `${number(seen.rate)} nats`],
      ['ELBO', seen.rate === null ? 'none' : `${number(-seen.distortion - seen.rate)} nats`],
      iw && [`IW-${seen.arrays.iw_k.data.at(-1)}`, `${number(iw.data.at(-1))} nats`]
    ].filter(Boolean)
    clear(facts).append(...rows.flatMap(([key, value]) => [h('dt', {}, key), h('dd', { class: 'number' }, value)]))
    said.textContent = [seen.label === null ? 'These data have no labels.' : '', seen.why ? sentence(seen.why) : ''].filter(Boolean).join(' ')
    if (seen.layers.length > 1) {
      clear(layers).append(select('layer', seen.layers.map((l, i) => [i, `${i + 1} of ${seen.layers.length}${i ? '' : ', the top'}`]), layer, value => { layer = Number(value); show() }))
    }
    const one = seen.layers[layer]
    more.hidden = one.size <= FEW
    const apart = seen.arrays[`kl${layer}`].data.length === one.size
    blocks.posterior.note([
      one.measured ? 'The family has no closed form of μ and σ: they are those of 400 draws.' : '',
      seen.rate === null ? 'Grey: the prior at one σ. The posterior is a point, without a spread or a rate.' : apart ? 'Grey: the prior at one σ. Thick and thin: q at one and two σ. By KL; what carries less than 0.01 nats is grey.' : `Grey: the prior at one σ. q and prior do not come apart into single latents: ${plain(seen.arrays[`kl${layer}`].data[0])} nats for all together.`,
      seen.layers.length > 1 && layer ? 'The layers above are at their centres.' : '',
      seen.spaces[layer] !== 'real' ? `Its values are no free real numbers (${seen.spaces[layer]}), so μ and σ are of each element of a code.` : '',
      all || one.size <= FEW ? '' : `${FEW} of ${one.size} are shown.`
    ].filter(Boolean).join(' '))
    rebuild()
    blocks.rebuilt.note(seen.rate === null ? 'A point posterior: every draw is the same.' : `First from the ${seen.centre}, then from draws of q.`)
    for (const key of ['weights', 'growth']) blocks[key].hidden = !seen.arrays.log_weights
    blocks.weights.note('One draw of q each: the wider, the farther the ELBO, their mean, lies below log p(x).')
    blocks.growth.note('The mean over groups of k draws, and where the middle 80 of 100 groups lie: the bound rises and steadies.')
    chart.posterior.redraw(); chart.weights.redraw(); chart.growth.redraw()
  }

  function rebuild () {
    if (!seen) return
    const room = Math.max(200, sheets.element.clientWidth)
    const names = ['centre', ...Array.from({ length: 11 }, (_, i) => `draw ${i + 1}`)]
    sheets.draw(seen.arrays.rebuilt, { columns: run.x === 'image' ? (room < 480 ? 6 : 12) : 4, room, gap: 4, most: 2.4, names })
  }

  const watch = new ResizeObserver(rebuild)
  watch.observe(sheets.element)
  ctx.onTheme(() => { for (const made of charts) made.redraw(); if (seen) x.draw(seen.arrays.x) })
  ask()
  return () => { stopped = true; watch.disconnect(); for (const made of charts) made.stop() }
}

function sentence (text) { return `${text[0].toUpperCase()}${text.slice(1)}.` }
