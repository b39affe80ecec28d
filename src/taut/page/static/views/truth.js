// What is known of log p(x): every bound that was measured as one bar with its gaps; what the latents do; the runs side by side.
import { button, h, plain } from '../parts/controls.js'
import { dressed, extent, figure, number, padded, standalone } from '../parts/plot.js'

dressed(import.meta.url, 'records.css')

export const name = 'truth'
export const title = 'Truth'

export function unavailable (run) {
  if (!run.finished) return 'Bounds are taken when the training is over; what it has come to so far stands under Training.'
  return null
}

const FEW = 20 // examples, below which a mean over them says little
const NARROW = 640 // pixels, below which the bar stands upright
const WORDS = {
  iw: 'importance weights of more draws', ais: 'annealing, nearer to log p(x) from below', bdmc: 'both sides, on examples that the model makes',
  exact: 'log p(x) itself by quadrature', gaps: 'where the bound loses: encoder or family'
}

export async function mount (root, ctx) {
  const { run } = ctx
  const charts = []
  const { summary } = run
  // what the summary says is there at once
  const known = !Number.isFinite(summary.distortion) ? ''
    : !Number.isFinite(summary.elbo) ? `Distortion ${number(summary.distortion)} nats.`
    : `ELBO ${number(summary.elbo)} ± ${number(summary.elbo_stderr)} nats, of which distortion ${number(summary.distortion)} and rate ${number(summary.rate)}.`
  const head = h('p', { class: 'quiet' }, `${known} What else was measured is being read …`)
  root.append(h('h1', {}, 'How good is it, truly?'), head)
  const found = await ctx.ask('truth', {}, 'truth')
  // what is known of a few examples alone may lie anywhere: it stands in the table, and not in the bar
  const rungs = found.rungs
  const sure = rungs.filter((rung, i) => i === 0 || rung.n >= FEW)
  const unsure = rungs.filter(rung => !sure.includes(rung))
  head.textContent = known
  const ladder = block(root, 'log p(x) of the test examples')
  if (!rungs.length) {
    const why = summary.why ?? 'no bound of this run is on record'
    ladder.append(h('p', {}, `There is no bound: ${why}. Distortion at draws of the code: ${number(summary.distortion)} nats.`))
  } else bar(ladder)
  const measures = block(root, 'What was measured')
  const table = h('tbody')
  measures.append(h('div', { class: 'scroll' }, h('table', { class: 'ledger' }, h('thead', {}, h('tr', {}, ['', 'nats', '±', 'above the ELBO', 'examples', ''].map(t => h('th', { scope: 'col' }, t)))), table)))
  rows({})
  // which measures this model refuses is known once it is loaded; the rest need not wait for it
  const waiting = ctx.ask('refusals', {}, 'refusals').then(told => { rows(told.refusals); dead(told.remedies) }).catch(() => dead(''))
  if (found.sandwich) sandwich(block(root, 'Held from both sides'))
  if (found.gaps) gaps(block(root, 'Where the bound loses'))
  const latents = block(root, 'What the latents do')
  collapse(latents)
  await beside(block(root, 'The runs side by side'))
  ctx.onTheme(() => { for (const made of charts) made.redraw() })
  return () => { for (const made of charts) made.stop() }

  function block (where, words) {
    const made = h('section', { class: 'block' }, h('h2', {}, words))
    where.append(made)
    return made
  }
  function chart (where, options, draw, file) {
    const made = figure(where, options, draw)
    charts.push(made)
    where.append(h('p', { class: 'corner' }, button('Save as SVG', () => ctx.save(standalone(made.svg), `${file}.svg`), { class: 'quiet' })))
    return made
  }

  function bar (where) {
    chart(where, { height: w => w < NARROW ? 330 : 170, label: 'the bounds of log p(x)', margin: w => w < NARROW ? { left: 54, right: 150, top: 24, bottom: 12 } : { left: 20, right: 90, top: 58, bottom: 44 } }, c => {
      const exact = sure.find(r => r.name === 'exact')
      const best = exact ?? sure.reduce((a, b) => b.value > a.value ? b : a)
      const slack = Math.max(0, found.sandwich?.gap.value ?? 0)
      const ups = sure.map(r => r.value + 2 * (r.gain_stderr || 0))
      const low = sure[0].value
      const high = Math.max(best.value + slack, ...ups)
      const room = Math.max(high - low, 0.6)
      if (c.width < NARROW) return upright(c, best, slack, low, high, room)
      c.axes({ x: { domain: [low - room * 0.1, high + room * 0.16], label: 'nats an example' }, y: { domain: [0, 1], bare: true } })
      c.rect(c.x.invert(c.left), 0.12, low, 0.62, { colour: 'var(--quiet)', opacity: 0.4 })
      const sorted = [...sure].sort((a, b) => a.value - b.value)
      sorted.slice(1).forEach((r, i) => {
        c.rect(sorted[i].value, 0.12, r.value, 0.62, { colour: `var(--value-${Math.min(7, 3 + 2 * i)})`, opacity: 0.75, title: `${sorted[i].name} to ${r.name}: ${number(r.value - sorted[i].value)} nats` })
      })
      if (slack && !exact) {
        c.rect(best.value, 0.12, best.value + slack, 0.62, { colour: 'var(--quiet)', opacity: 0.15 })
        c.say(best.value + slack, 0.37, 'BDMC: at most this far', { dx: 6, colour: 'var(--quiet)' })
      } else if (!exact) c.say(best.value, 0.37, 'log p(x) lies here or beyond →', { dx: 8, colour: 'var(--quiet)' })
      // names above, moved apart; each with a hairline to its place
      const places = sorted.map(r => ({ r, at: c.x(r.value), text: `${r.name === 'exact' ? 'log p(x)' : r.name} ${number(r.value)}` }))
      const wide = 116
      places.forEach((p, i) => { p.to = i ? Math.max(p.at, places[i - 1].to + wide) : p.at })
      const over = places.at(-1).to + wide - 8 - (c.box.left + c.width)
      if (over > 0) for (let i = places.length - 1, edge = c.box.left + c.width - wide + 8; i >= 0; i--, edge -= wide) places[i].to = Math.min(places[i].to, edge)
      for (const { r, at, to, text } of places) {
        const line = c.y(0.62)
        c.add('path', { d: `M${at} ${c.y(0.12)}L${at} ${line}L${to} ${c.top - 18}`, fill: 'none', stroke: 'var(--ink)', 'stroke-width': r.name === 'exact' ? 2 : 1 })
        c.add('text', { x: to, y: c.top - 36, class: 'note' }, text.split(' ').slice(0, -1).join(' '))
        c.add('text', { x: to, y: c.top - 22, class: 'name' }, text.split(' ').at(-1))
        if (r.gain_stderr) {
          c.add('line', { x1: c.x(r.value - 2 * r.gain_stderr), x2: c.x(r.value + 2 * r.gain_stderr), y1: c.y(0.03), y2: c.y(0.03), stroke: 'var(--ink)', 'stroke-width': 1.5 })
        }
      }
    }, `bounds-${run.id}`)
    function upright (c, best, slack, low, high, room) {
      c.axes({ x: { domain: [0, 1], bare: true }, y: { domain: [low - room * 0.1, high + room * 0.1], label: 'nats an example' } })
      const sorted = [...sure].sort((a, b) => a.value - b.value)
      c.rect(0.1, c.y.invert(c.bottom), 0.8, low, { colour: 'var(--quiet)', opacity: 0.4 })
      sorted.slice(1).forEach((r, i) => c.rect(0.1, sorted[i].value, 0.8, r.value, { colour: `var(--value-${Math.min(7, 3 + 2 * i)})`, opacity: 0.75 }))
      if (slack && best.name !== 'exact') c.rect(0.1, best.value, 0.8, best.value + slack, { colour: 'var(--quiet)', opacity: 0.15 })
      for (const r of sorted) c.line([[0.1, r.value], [1, r.value]], { width: r.name === 'exact' ? 2 : 1 })
      c.ends(sorted.map(r => ({ y: r.value, text: `${r.name === 'exact' ? 'log p(x)' : r.name} ${number(r.value)}` })))
    }
    const bits = summary.bits_per_dim
    where.append(h('p', {}, `Each step is a gap that the bound before it leaves; a line below the bar is two standard errors of the gain over the ELBO. ${unsure.map(r => `${r.name === 'exact' ? 'log p(x) itself' : r.name} is known of ${r.n} examples alone, too few to stand here. `).join('')}${bits ? `The ELBO is ${plain(bits, 4)} bits/dim. ` : ''}${summary.iw?.why ? `There is no importance-weighted bound: ${summary.iw.why}.` : ''}`))
  }

  function rows (refused) {
    const folder = /\s/.test(run.folder) ? `'${run.folder}'` : run.folder
    const flag = { ais: '--ais', bdmc: '--bdmc', exact: '--exact', gaps: '--gaps' }
    const made = rungs.map(r => line(r.name === 'exact' ? 'log p(x), exact' : r.name, number(r.value), number(r.stderr), r.gain ? `${number(r.gain, 2, true)} ± ${number(r.gain_stderr)}` : '', r.n.toLocaleString('en-US'), `${r.words}.`))
    if (rungs.length) {
      for (const key of found.missing) {
        const why = refused[key]
        if (key === 'exact' && summary.latent_dim > 2 && !why) continue
        const say = () => why ? `${why}.` : h('span', {}, `${WORDS[key]}: `, h('code', {}, `taut evaluate ${folder} ${flag[key]}`))
        made.push(h('tr', { class: 'apart over' }, h('td', {}, key === 'exact' ? 'exact' : key === 'gaps' ? 'gaps' : key.toUpperCase()), h('td', { colSpan: 4 }, why ? 'cannot be had' : 'not measured'),
          h('td', { class: 'say' }, say())), h('tr', { class: 'apart under' }, h('td', { colSpan: 5 }, say()))) // below where the screen is narrow
      }
    }
    table.replaceChildren(...made)
    measures.hidden = !made.length
  }
  function line (...cells) {
    return h('tr', {}, cells.map((cell, i) => h('td', { class: i === cells.length - 1 ? 'say' : 'number' }, cell)))
  }

  function sandwich (where) {
    const { lower, upper, gap, n, words } = found.sandwich
    chart(where, { height: 92, label: 'BDMC', margin: { left: 20, right: 20, top: 30, bottom: 40 } }, c => {
      const room = Math.max(Math.abs(upper.value - lower.value), 2 * Math.max(lower.stderr, upper.stderr), 0.2)
      c.axes({ x: { domain: [Math.min(lower.value, upper.value) - room, Math.max(lower.value, upper.value) + room], label: 'nats an example' }, y: { domain: [0, 1], bare: true } })
      c.rect(lower.value, 0.1, upper.value, 0.9, { colour: 'var(--value-5)', opacity: 0.6 })
      const sides = [[lower.value, `from below ${number(lower.value)}`], [upper.value, `from above ${number(upper.value)}`]].sort((a, b) => a[0] - b[0])
      for (const [i, [v, text]] of sides.entries()) {
        const [anchor, dx] = i ? ['start', 6] : ['end', -6]
        c.line([[v, 0], [v, 1]], { width: 1.5 })
        c.say(v, 0.5, text, { anchor, dx })
      }
    }, 'bdmc')
    where.append(h('p', {}, `log p(x) of ${n.toLocaleString('en-US')} examples that the model made, ${words}: the two sides are ${number(gap.value)} ± ${number(gap.stderr)} nats apart. ${gap.value < 2 * gap.stderr ? 'That is within the noise of the chains: AIS is as good as exact there.' : 'AIS can be wrong by as much on such data.'}`))
  }

  function gaps (where) {
    const { amortisation, approximation, n } = found.gaps
    chart(where, { height: 96, label: 'amortisation and approximation', margin: { left: 20, right: 20, top: 30, bottom: 40 } }, c => {
      const [a, b] = [Math.max(0, amortisation.value), Math.max(0, approximation.value)]
      c.axes({ x: { domain: [0, Math.max(0.1, (a + b) * 1.25)], label: 'nats below log p(x)' }, y: { domain: [0, 1], bare: true } })
      c.rect(0, 0.1, a, 0.9, { colour: 'var(--value-3)', opacity: 0.8 })
      c.rect(a, 0.1, a + b, 0.9, { colour: 'var(--value-6)', opacity: 0.8 })
      c.add('text', { x: c.left, y: c.top - 10, class: 'note' }, `encoder ${number(amortisation.value)} ± ${number(amortisation.stderr)}`)
      const second = `family ${number(approximation.value)} ± ${number(approximation.stderr)}`
      const room = c.x(a) + 150 < c.right
      c.add('text', { x: room ? Math.max(c.x(a), c.left + 140) : c.right, y: c.top - 10, class: 'note', 'text-anchor': room ? 'start' : 'end' }, second)
    }, 'gaps')
    where.append(h('p', {}, `Of ${n.toLocaleString('en-US')} examples: dark, what one encoder for all examples costs (amortisation); light, what the family costs even with the best q for each (approximation).`))
  }

  function collapse (where) {
    const kl = summary.kl_per_dim ?? []
    if (!run.layers.length) { where.append(h('p', {}, (summary.exactness ?? 'exact') === 'exact' ? 'The model has no latents: log p(x) is its own, and nothing is bounded.' : 'The model has no latents, yet its ELBO is a bound: log p(x) itself is not known.')); return }
    if (!kl.length || summary.elbo === null) { where.append(h('p', {}, `${summary.why ? `${summary.why[0].toUpperCase()}${summary.why.slice(1)}` : 'No rate is on record'}, so no latent has a rate of its own.`)); return }
    const order = [...kl].sort((a, b) => b - a)
    const apart = kl.length === summary.latent_dim
    chart(where, { height: 200, label: 'KL of each latent, sorted', margin: { top: 22 } }, c => {
      c.axes({ x: { domain: [0, Math.max(order.length, 16)], label: apart ? 'latents by their KL' : 'groups of latents by their KL', ticks: [] }, y: { domain: [0, Math.max(0.01, order[0]) * 1.08], label: 'KL, nats' } })
      const pad = order.length > 120 ? 0 : 0.12
      order.forEach((v, i) => c.rect(i + pad, 0, i + 1 - pad, v, { colour: v < 0.01 ? 'var(--hair)' : 'var(--ink)', title: `${number(v, 3)} nats` }))
      const alive = order.filter(v => v >= 0.01).length
      if (alive < order.length) {
        c.rule({ x: alive })
        c.say(alive, order[0], `${order.length - alive} carry less than 0.01 nats`, { dx: 8, dy: 6, colour: 'var(--quiet)' })
      }
    }, 'kl')
    const told = summary.aggregate?.information
    const mismatch = summary.aggregate?.mismatch
    where.append(h('p', {}, [
      `${summary.active_units} of ${summary.latent_dim} latents are active: their means vary with x. Rate ${number(summary.rate)} nats${summary.kl_per_layer?.length > 1 ? `, by layer from the top ${summary.kl_per_layer.map(v => number(v)).join(', ')}` : ''}.`,
      told ? `The code tells between ${number(told.low)} and ${number(told.high)} nats about x (at most ${number(told.most)} can be seen with ${told.n.toLocaleString('en-US')} examples).` : '',
      mismatch ? `The mean of all posteriors is ${number(mismatch.low)} to ${number(mismatch.high)} nats from the prior.` : ''
    ].filter(Boolean).join(' ')))
  }
  function dead (remedies) {
    if (summary.elbo === null || !run.layers.length || !remedies) return
    if (summary.rate < 0.1 || summary.active_units * 4 < summary.latent_dim) latents.append(h('p', {}, summary.rate < 0.1 ? `The latents have died: the decoder goes without them. ${remedies}` : `Fewer than a quarter of the latents are in use. Where more were wanted: ${remedies.replace(/^What helps: /, '')}`))
  }

  async function beside (where) {
    const { rows: all } = await ctx.ask('beside', {}, 'beside')
    if (all.length < 2) { where.append(h('p', {}, 'This is the only finished run here; start taut explore with a folder of several.')); return }
    const fair = all.filter(r => !r.reason).sort((a, b) => b.elbo - a.elbo)
    if (fair.length > 1) {
      chart(where, { height: 64 + 24 * fair.length, label: 'ELBO and importance-weighted bounds of comparable runs', margin: w => ({ left: Math.min(210, w * 0.38), right: 24, top: 12 }) }, c => {
        const values = fair.flatMap(r => [r.elbo - 2 * r.elbo_stderr, r.elbo + 2 * r.elbo_stderr, r.iw?.value]).filter(Number.isFinite)
        c.axes({ x: { domain: padded(extent(values), 0.04), label: 'nats an example' }, y: { domain: [fair.length, 0], bare: true } })
        fair.forEach((r, i) => {
          const own = r.id === run.id
          c.add('text', { x: c.left - 12, y: c.y(i + 0.5) + 4, 'text-anchor': 'end', class: own ? 'note' : 'name' }, shorter(r.name, c.left))
          c.line([[r.elbo - 2 * r.elbo_stderr, i + 0.5], [r.elbo + 2 * r.elbo_stderr, i + 0.5]], { width: 1, colour: own ? 'var(--ink)' : 'var(--quiet)' })
          c.dot(r.elbo, i + 0.5, { radius: 4, colour: own ? 'var(--ink)' : 'var(--quiet)', title: `ELBO ${number(r.elbo)}` })
          if (r.iw?.value) c.dot(r.iw.value, i + 0.5, { radius: 4, ring: true, colour: own ? 'var(--ink)' : 'var(--quiet)', title: `IW-${r.iw.k} ${number(r.iw.value)}` })
        })
      }, 'runs')
      where.append(h('p', {}, 'Dot: ELBO with two standard errors over the examples. Ring: importance-weighted bound. Differences of two runs on the same examples are surer than these: taut diff RUN RUN.'))
    }
    where.append(h('div', { class: 'scroll' }, h('table', { class: 'ledger' }, h('thead', {}, h('tr', {}, ['run', 'ELBO', '±', 'IW-k', 'distortion', 'rate', 'active', ''].map(t => h('th', { scope: 'col' }, t)))),
      h('tbody', {}, [...fair, ...all.filter(r => r.reason)].map(r => h('tr', { class: r.id === run.id ? 'here' : r.reason ? 'apart' : null },
        [r.name, number(r.elbo), number(r.elbo_stderr), r.iw?.value ? `${number(r.iw.value)}` : '–', number(r.distortion), number(r.rate), r.latent_dim ? `${r.active_units} of ${r.latent_dim}` : '–'].map(t => h('td', { class: 'number' }, t)), h('td', { class: 'say' }, r.reason ? (r.id === run.id ? 'this run' : `apart: ${r.reason}`) : '')))))))
  }
}

function shorter (text, room) {
  const most = Math.max(6, Math.floor((room - 20) / 7))
  return text.length <= most ? text : `…${text.slice(1 - most)}`
}
