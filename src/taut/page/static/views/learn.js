// A short illustrated essay: six figures, each a thing to move, each with this run's own numbers where it has them.
import { button, h, plain, select, toggle } from '../parts/controls.js'
import { boundOf, bytes, climbed, field, flat, klOf, lesson, logAdd, logNormal, normals } from '../parts/lesson.js'
import * as m from '../parts/mathml.js'
import { paint, sheet } from '../parts/picture.js'
import { dressed, extent, figure, number, padded, ramp, rgb, short, standalone } from '../parts/plot.js'
import { tug } from '../parts/tug.js'

dressed(import.meta.url, 'learn.css')

export const name = 'learn'
export const title = 'Learn'
export function unavailable () { return null }

const TRIES = 12
const MOST = 10000

export async function mount (root, ctx) {
  const stops = []
  const charts = []
  const own = ownNumbers(ctx)
  const essay = h('article', { class: 'essay' })
  root.append(essay)
  essay.append(h('h1', {}, 'What the ELBO does'),
    h('p', {}, 'A model of latent variables draws a code z from a prior and an example x given z. To learn one we would like to make log p(x) of the data large. Six figures tell why that is hard, what is done instead, and what it costs. Move what is coloured like ', h('span', { class: 'accent' }, 'this'), '.'))
  const parts = [hard, bound, divergence, reparameterised, war, dying]
  const jump = h('nav', { class: 'contents small', 'aria-label': 'Figures' })
  essay.append(jump)
  for (const [i, part] of parts.entries()) {
    const section = h('section', { id: `figure-${i + 1}`, tabIndex: -1 })
    essay.append(section)
    const tools = {
      ctx, own, section,
      chart (where, options, draw) {
        const made = figure(where, options, draw)
        charts.push(made)
        stops.push(() => made.stop())
        return made
      },
      later: stop => stops.push(stop),
      redraws: redraw => charts.push({ redraw }),
      saveable (chart, file) {
        section.append(h('p', { class: 'save' }, button('Save as SVG', () => ctx.save(standalone(chart.svg), `${file}.svg`), { class: 'quiet' })))
      }
    }
    try {
      await part(tools)
    } catch (error) {
      section.append(h('p', { class: 'small' }, String(error.message ?? error)))
    }
    jump.append(button(`${i + 1} ${section.querySelector('h2')?.textContent.replace(/^\d+\s*/, '') ?? ''}`, () => {
      ctx.state.set('figure', i + 1)
      section.scrollIntoView({ behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' })
      section.focus({ preventScroll: true })
    }, { class: 'quiet' }))
  }
  const asked = Number(ctx.state.get('figure', 0))
  if (asked > 1) essay.querySelector(`#figure-${asked}`)?.scrollIntoView()
  ctx.onTheme(() => { for (const chart of charts) chart.redraw() })
  return () => { for (const stop of stops) stop() }
}

// What the loaded run says of one example, asked once; a sentence instead where it cannot.
function ownNumbers (ctx) {
  const example = Math.max(0, Math.round(ctx.state.get('example', 0)))
  const why = !ctx.run ? 'No run is loaded' : !ctx.run.finished ? `${ctx.run.name} is still training` : !(ctx.run.latents > 0) ? `${ctx.run.name} has no latents` : ''
  if (why) return { why, example, seen: Promise.resolve(null), noise: () => Promise.resolve(null) }
  return {
    why: '',
    example,
    seen: ctx.ask('examine', { example, draws: 1 }, 'learn-examine').catch(error => ({ failure: error.message })),
    noise: seed => ctx.ask('noise', { example, seed }, 'learn-noise').catch(error => ({ failure: error.message }))
  }
}

function headed (section, i, words, ...paragraphs) {
  section.append(h('h2', {}, h('span', { class: 'quiet' }, `${i}\u2002`), words), ...paragraphs.map(text => h('p', {}, text)))
}

function formula (markup, sentence) {
  return h('div', { class: 'formula' }, m.equation(markup), h('p', { class: 'small' }, sentence))
}

// the place where a run's own numbers stand: filled when they are there
function mine (tools, say) {
  const place = h('div', { class: 'mine', 'aria-live': 'polite' })
  const name = tools.ctx.run?.name
  const head = h('span', { class: 'small' }, name ? `In ${name}, test example ${tools.own.example}` : 'In your run')
  place.append(head, h('p', { class: 'small' }, tools.own.why ? `${tools.own.why}; the numbers are the lesson’s.` : '…'))
  tools.own.seen.then(seen => {
    if (!seen) return
    const said = seen.failure ? seen.failure : say(seen)
    if (said) place.lastChild.replaceWith(said instanceof Node ? said : h('p', {}, said))
    else place.remove()
  })
  return place
}

function thumbnails (plane, chosen, act) {
  const row = h('div', { class: 'thumbs', role: 'group', 'aria-label': 'example' })
  plane.examples.forEach((example, i) => {
    const canvas = h('canvas', { width: 40, height: 40, class: 'pixels' })
    const picture = bytes(example.x, plane.levels)
    paint(canvas, picture, { columns: 1, width: 40, height: 40 })
    const choice = button('', () => { for (const other of row.children) other.setAttribute('aria-pressed', other === choice); act(i) }, { class: 'thumb', 'aria-label': `a ${example.label}`, 'aria-pressed': String(i === chosen) })
    choice.append(canvas)
    row.append(choice)
  })
  return row
}

// part of the plane of two latents: how likely x is from each z, and the prior's circles
function plane (c, at, [[x0, x1], [y0, y1]], range = 40) {
  const points = 140
  const colour = ramp()
  const paper = rgb(getComputedStyle(document.documentElement).getPropertyValue('--paper'))
  const values = new Float32Array(points * points)
  let high = -Infinity
  for (let j = 0; j < points; j++) {
    for (let i = 0; i < points; i++) {
      values[j * points + i] = at(x0 + (x1 - x0) * (i + 0.5) / points, y0 + (y1 - y0) * (j + 0.5) / points)
      high = Math.max(high, values[j * points + i])
    }
  }
  c.axes({ x: { domain: [x0, x1], label: 'z₁', every: 50 }, y: { domain: [y0, y1], label: 'z₂', lines: false, every: 50 } })
  c.heat(values, points, points, {
    x: [x0, x1], y: [y0, y1], domain: [high - range, high], smooth: true,
    colour: t => t <= 0 ? paper : colour(t).map((v, k) => paper[k] + (v - paper[k]) * Math.min(1, t * 3))
  })
  for (const r of [1, 2, 3]) ring(c, [0, 0], [r, r], { colour: 'var(--quiet)', width: 1, dash: '3 3' })
}

// an ellipse, as far as it lies in the panel
function ring (c, centre, radius, style) {
  const [[x0, y0], [x1, y1]] = [[c.x.invert(c.left), c.y.invert(c.bottom)], [c.x.invert(c.right), c.y.invert(c.top)]]
  c.line(Array.from({ length: 181 }, (_, i) => {
    const [x, y] = [centre[0] + radius[0] * Math.cos(i * Math.PI / 90), centre[1] + radius[1] * Math.sin(i * Math.PI / 90)]
    return x >= x0 && x <= x1 && y >= y0 && y <= y1 ? [x, y] : [NaN, NaN]
  }), style)
}

const square = w => Math.min(w, 640) - 10 // so that the panel within the margins is one

// 1
async function hard (tools) {
  const { section } = tools
  const data = await lesson('plane')
  headed(section, 1, 'Why p(x) is hard',
    'Every code could have made x, some far likelier than others. p(x) adds them all up: an integral over the whole space of codes. The map shows how likely one handwritten digit is from each place of a plane of two latents. Nearly everywhere it is hopeless; all of p(x) comes from a small island.')
  section.append(formula(m.row(m.px, m.op('='), m.op('∫'), m.pxz, m.pz, m.op('d'), m.id('z'), m.op('≈'), m.frac(m.num(1), m.id('K')), m.under(m.op('∑'), m.id('k')), m.call('p', m.given(m.id('x'), m.sub(m.id('z'), m.id('k')))), m.gap, m.sub(m.id('z'), m.id('k')), m.op('∼'), m.pz),
    'Draw codes from the prior, and take the mean of how likely they make x. It is right on average, yet a few draws miss the island, and log p(x) looks far worse than it is.'))
  let which = 0; let count = 30; let from = 'prior'; let seed = 1
  let tries = []
  const left = h('div'); const right = h('div')
  const words = h('p', { class: 'reading', 'aria-live': 'polite' })
  const again = button('Draw anew', () => { seed += TRIES; work() })
  const source = select('draws from', [['prior', 'the prior p(z)'], ['posterior', 'q(z|x), the encoder’s guess']], from, value => { from = value; work() })
  section.append(h('div', { class: 'bar' }, thumbnails(data, which, i => { which = i; work() }), source, again), h('div', { class: 'two' }, left, right), words)

  const KS = Array.from({ length: 61 }, (_, i) => Math.round(10 ** (4 * i / 60))).filter((k, i, all) => k !== all[i - 1])
  function work () {
    const example = data.examples[which]
    const at = field(example, data.reach, data.points)
    tries = Array.from({ length: TRIES }, (_, t) => {
      const normal = normals(seed + t)
      const places = []; const curve = []
      let total = -Infinity; let next = 0
      for (let k = 1; k <= MOST; k++) {
        const noise = [normal(), normal()]
        const z = from === 'prior' ? noise : noise.map((e, d) => example.mean[d] + example.std[d] * e)
        let weight = at(z[0], z[1])
        if (from !== 'prior') for (const d of [0, 1]) weight += logNormal(z[d]) - logNormal(z[d], example.mean[d], example.std[d])
        total = logAdd(total, weight)
        if (k <= 1500) places.push(z)
        if (k === KS[next]) { curve.push([k, total - Math.log(k)]); next++ }
      }
      return { places, curve }
    })
    map.redraw(); line.redraw(); tell()
  }
  function reading (t) { return tries[t].curve.reduce((best, point) => Math.abs(Math.log(point[0] / count)) < Math.abs(Math.log(best[0] / count)) ? point : best) }
  function tell () {
    const [k, value] = reading(0)
    const spread = tries.map((_, t) => reading(t)[1])
    words.textContent = `${k.toLocaleString('en-US')} draw${k > 1 ? 's say' : ' says'} log p(x) = ${number(value)} nats; ${TRIES} such tries say anything from ${number(Math.min(...spread))} to ${number(Math.max(...spread))}. By quadrature it is ${number(data.examples[which].log_p)}.`
  }
  const map = tools.chart(left, { height: square, label: 'log p(x|z) over the plane of z, with the draws' }, c => {
    const { reach, points } = data
    plane(c, field(data.examples[which], reach, points), [[-reach, reach], [-reach, reach]])
    if (!tries.length) return
    for (const z of tries[0].places.slice(0, Math.min(count, 1500))) c.dot(z[0], z[1], { radius: count > 300 ? 1.2 : 2.2, colour: 'var(--ink)', opacity: 0.8 })
  })
  const line = tools.chart(right, { height: square, label: 'the estimate of log p(x) by the number of draws', margin: w => ({ top: 24, right: 30 }) }, c => {
    if (!tries.length) return
    const truth = data.examples[which].log_p
    const low = Math.min(truth - 30, ...tries.map(t => t.curve[0][1]))
    c.axes({ x: { domain: [1, MOST], log: true, label: 'draws, K' }, y: { domain: [Math.max(low, truth - 320), truth + 12], label: 'log of the mean, nats' } })
    c.rule({ y: truth }, { colour: 'var(--ink)', dash: null })
    c.say(1, truth, 'log p(x)', { dy: -6, dx: 4 })
    tries.forEach((t, i) => c.line(t.curve.map(([k, v]) => [k, Math.max(v, truth - 320)]), { colour: i ? 'var(--quiet)' : 'var(--ink)', width: i ? 0.8 : 1.6, opacity: i ? 0.6 : 1 }))
    const [k, value] = reading(0)
    c.rule({ x: k }, { colour: 'var(--accent)' })
    c.handle('count', { x: k, y: Math.max(value, truth - 320), label: 'number of draws', axis: 'x', anywhere: true, value: `${k} draws`, step: [0, 0], move: x => { count = Math.round(Math.min(MOST, Math.max(1, x))); map.redraw(); line.redraw(); tell() } }).onkeydown = event => {
      const by = { ArrowRight: 1.3, ArrowUp: 1.3, ArrowLeft: 1 / 1.3, ArrowDown: 1 / 1.3 }[event.key]
      if (by) { count = Math.min(MOST, Math.max(1, by > 1 ? Math.ceil(count * by) : Math.floor(count * by))); map.redraw(); line.redraw(); tell(); event.stopPropagation() }
    }
  })
  work()
  section.append(mine(tools, seen => {
    const { naive_mean: mean, naive_k: k, iw_mean: iw, iw_k: ik } = seen.arrays
    if (!mean) return seen.why
    const last = mean.data.length - 1
    const better = iw ? `; ${ik.data.at(-1).toLocaleString('en-US')} from q say ${number(iw.data.at(-1))}` : ''
    return `${k.data[last].toLocaleString('en-US')} draws from the prior say ${number(mean.data[last])} nats on average${better}.`
  }))
  tools.saveable(line, 'why-p-x-is-hard')
}

// 2
const JENSEN = [
  [m.row(m.log(m.px), m.op('='), m.log(m.op('∫'), m.joint, m.op('d'), m.id('z'))), 'Start from what we want: the sum over all codes.', () => null],
  [m.row(m.op('='), m.log(m.mean(m.qzx, m.frac(m.joint, m.qzx)))), 'Multiply and divide by any q(z|x). The sum becomes a mean over draws of q.', s => s.best && ['log p(x), as near as importance weights come', s.best]],
  [m.row(m.op('≥'), m.mean(m.qzx, m.log(m.frac(m.joint, m.qzx)))), 'The logarithm bends down, so the log of a mean is at least the mean of the log (Jensen). This is the ELBO.', s => ['ELBO', s.elbo]],
  [m.row(m.op('='), m.mean(m.qzx, m.log(m.pxz)), m.op('−'), m.KL(m.qzx, m.pz)), 'Split p(x, z) into p(x|z) p(z): how well x is rebuilt, less what the code costs beyond the prior.', s => ['−distortion − rate', [-s.distortion, -s.rate]]]
]
const POSTERIOR = [
  [m.row(m.KL(m.qzx, m.pzx), m.op('='), m.mean(m.qzx, m.log(m.qzx), m.op('−'), m.log(m.pzx))), 'Start from how far q is from the true posterior.', () => null],
  [m.row(m.op('='), m.mean(m.qzx, m.log(m.qzx), m.op('−'), m.log(m.joint)), m.op('+'), m.log(m.px)), 'By Bayes’ rule p(z|x) = p(x, z)/p(x); log p(x) does not depend on z and comes out.', () => null],
  [m.row(m.log(m.px), m.op('='), m.mean(m.qzx, m.log(m.joint), m.op('−'), m.log(m.qzx)), m.op('+'), m.KL(m.qzx, m.pzx)), 'Turn it round: log p(x) is the ELBO plus a divergence, exactly.', s => s.best && ['gap, at least', s.best - s.elbo]],
  [m.row(m.KL(m.qzx, m.pzx), m.op('≥'), m.num(0), m.gap, m.op('⇒'), m.gap, words('ELBO'), m.op('≤'), m.log(m.px)), 'A divergence is never negative: so the ELBO is a bound, and it is tight where q is the posterior.', s => ['ELBO', s.elbo]]
]
function words (text) { return m.words(text) }

async function bound (tools) {
  const { section, ctx } = tools
  const data = await lesson('plane')
  headed(section, 2, 'The bound, in two derivations',
    'Instead of searching the whole space, let a guess q(z|x) say where to look. Two ways lead to the same bound; uncover them line by line.')
  const columns = h('div', { class: 'two derivations' })
  section.append(columns)
  const seenBy = tools.own.seen.then(seen => {
    if (!seen || seen.failure || seen.rate === null) return null
    const iw = seen.arrays.iw_mean?.data
    return { elbo: -seen.distortion - seen.rate, distortion: seen.distortion, rate: seen.rate, best: iw ? iw.at(-1) : null }
  })
  const fallback = { elbo: null }
  for (const [words, lines, key] of [['By Jensen’s inequality', JENSEN, 'jensen'], ['By the posterior', POSTERIOR, 'posterior']]) {
    let shown = Math.min(lines.length, Math.max(1, Math.round(ctx.state.get(key, 1))))
    const list = h('ol', { class: 'lines' })
    const next = button('Next line', () => { shown = Math.min(lines.length, shown + 1); show(); ctx.state.set(key, shown) })
    const back = button('Back', () => { shown = Math.max(1, shown - 1); show(); ctx.state.set(key, shown) }, { class: 'quiet' })
    const column = h('div', {}, h('h3', {}, words), list, h('div', { class: 'bar' }, next, back))
    columns.append(column)
    lines.forEach(([markup, sentence, numbers]) => {
      const value = h('span', { class: 'number small' })
      const item = h('li', {}, m.equation(markup), h('p', { class: 'small' }, sentence), value)
      list.append(item)
      seenBy.then(seen => {
        const found = numbers(seen ?? { ...fallback, ...boundLesson(data) })
        if (!found) return
        const said = Array.isArray(found[1]) ? `${number(found[1][0])} − ${number(-found[1][1])}` : number(found[1])
        value.textContent = `${seen ? 'here' : 'lesson'}: ${found[0]} = ${said} nats`
      })
    })
    const show = () => {
      [...list.children].forEach((item, i) => { item.hidden = i >= shown })
      next.disabled = shown >= lines.length
      back.disabled = shown <= 1
    }
    show()
  }
  section.append(h('p', {}, 'Below, q is yours: drag its middle and its width. log p(x) does not move; what the ELBO wins, the gap loses.'))
  let which = 0
  let q = { mean: [...data.examples[0].mean], std: [...data.examples[0].std] }
  const left = h('div'); const right = h('div')
  const reset = () => { q = { mean: [...data.examples[which].mean], std: [...data.examples[which].std] }; redraw() }
  section.append(h('div', { class: 'bar' }, thumbnails(data, which, i => { which = i; reset() }), button('The encoder’s q', reset),
    button('The prior', () => { q = { mean: [0, 0], std: [1, 1] }; redraw() }),
    button('Climb to the best q', () => { q = climbed(field(data.examples[which], data.reach, data.points), q.mean, q.std, 200); redraw() })), h('div', { class: 'two' }, left, right))
  const map = tools.chart(left, { height: square, label: 'the posterior over the plane, and q' }, c => {
    const example = data.examples[which]
    const { reach, points } = data
    const at = field(example, reach, points)
    const wide = Math.max(0.3, 7 * Math.max(...example.std)) // on either side of the posterior
    const middle = example.mean.map(v => Math.min(reach - wide, Math.max(wide - reach, v)))
    const span = middle.map(v => [v - wide, v + wide])
    plane(c, at, span)
    const axes = span.map(([low]) => Array.from({ length: 61 }, (_, i) => low + 2 * wide * i / 60))
    const post = Float32Array.from({ length: 61 * 61 }, (_, k) => {
      const [x, y] = [axes[0][Math.floor(k / 61)], axes[1][k % 61]]
      return at(x, y) + logNormal(x) + logNormal(y)
    })
    const high = post.reduce((a, b) => Math.max(a, b))
    for (const level of [0.5, 2, 4.5]) c.contour(post, ...axes, high - level, { colour: 'var(--ink)', width: 1.2 })
    for (const r of [1, 2, 3]) ring(c, q.mean, q.std.map(v => v * r), { colour: 'var(--accent)', width: 1.6 })
    const clamp = (v, d) => Math.min(span[d][1], Math.max(span[d][0], v))
    c.handle('width', { x: clamp(q.mean[0] + q.std[0], 0), y: clamp(q.mean[1] + q.std[1], 1), radius: 5, label: 'width of q', step: [0.02, 0.02], move: (x, y) => { q = { ...q, std: [x - q.mean[0], y - q.mean[1]].map(v => Math.min(2.5, Math.max(0.04, Math.abs(v)))) }; redraw() } })
    c.handle('mean', { x: clamp(q.mean[0], 0), y: clamp(q.mean[1], 1), label: 'mean of q', step: [0.04, 0.04], move: (x, y) => { q = { ...q, mean: [clamp(x, 0), clamp(y, 1)] }; redraw() } })
    c.add('text', { x: c.left + 8, y: c.top + 16, class: 'note' }, 'p(z|x), exact')
    c.add('text', { x: c.left + 8, y: c.top + 33, class: 'note', fill: 'var(--accent)' }, 'q(z|x) at 1, 2 and 3 σ')
  })
  const bar = tools.chart(right, { height: square, label: 'log p(x) in its parts', margin: { top: 30, right: 122 } }, c => {
    const example = data.examples[which]
    const { fit, rate, elbo } = boundOf(field(example, data.reach, data.points), q.mean, q.std)
    const gapped = Math.max(0, example.log_p - elbo)
    const top = Math.max(example.log_p, fit) + 3
    // the scale changes by steps, so that it rests while q is moved a little
    const room = [18, 40, 100, 250, 600, 1500, 1e4].find(s => top - elbo < s * 0.92)
    c.axes({ x: { domain: [0, 1], bare: true }, y: { domain: [top - room, top], label: 'nats' } })
    c.rect(0.06, fit, 0.44, elbo, { colour: 'var(--quiet)', opacity: 0.35 })
    c.rect(0.52, elbo, 0.9, example.log_p, { colour: 'var(--accent)', opacity: 0.4 })
    c.line([[0.06, fit], [1, fit]], { colour: 'var(--quiet)', width: 1, dash: '2 3' })
    c.line([[0.06, elbo], [1, elbo]], { colour: 'var(--ink)', width: 1 })
    c.line([[0, example.log_p], [1, example.log_p]], { colour: 'var(--ink)', width: 2 })
    c.say(0.25, (fit + elbo) / 2, `rate ${number(rate)}`, { anchor: 'middle' })
    c.say(0.71, (elbo + example.log_p) / 2, `gap ${number(gapped)}`, { anchor: 'middle' })
    c.ends([
      { y: fit, text: `E log p(x|z) ${number(fit, 1)}`, colour: 'var(--quiet)' },
      { y: example.log_p, text: `log p(x) ${number(example.log_p, 1)}` },
      { y: elbo, text: `ELBO ${number(elbo, 1)}` }
    ])
  })
  function redraw () { map.redraw(); bar.redraw() }
  section.append(mine(tools, seen => {
    if (seen.rate === null) return seen.why
    const iw = seen.arrays.iw_mean?.data
    const k = seen.arrays.iw_k?.data
    const elbo = -seen.distortion - seen.rate
    return `ELBO = −${number(seen.distortion)} − ${number(seen.rate)} = ${number(elbo)} nats${iw ? `; IW-${k.at(-1)} is ${number(iw.at(-1))}, so the gap is at least ${number(Math.max(0, iw.at(-1) - elbo))}` : ` (${seen.why})`}.`
  }))
  tools.saveable(map, 'the-bound')
}

function boundLesson (data) {
  const example = data.examples[0]
  const found = boundOf(field(example, data.reach, data.points), example.mean, example.std)
  return { elbo: found.elbo, distortion: -found.fit, rate: found.rate, best: example.log_p }
}

// 3
async function divergence (tools) {
  const { section } = tools
  headed(section, 3, 'What a code costs',
    'The rate of one latent is the divergence of its q from the prior. To say where z is, q leaves the middle; to say it precisely, q gets narrow. Drag q by its top, and its width by its shoulder.')
  let q = { mean: 1.2, std: 0.4 }
  const live = h('div', { class: 'formula' })
  const left = h('div'); const right = h('div')
  let dims = []
  section.append(h('div', { class: 'two' }, left, right), live)
  const clampMean = v => Math.min(3.2, Math.max(-3.2, v))
  const clampStd = v => Math.min(2.4, Math.max(0.06, v))
  const curves = tools.chart(left, { height: 300, label: 'q and the prior', margin: { left: 20, top: 26 } }, c => {
    const xs = Array.from({ length: 301 }, (_, i) => -4 + 8 * i / 300)
    const peak = 0.4 / q.std
    c.axes({ x: { domain: [-4, 4], label: 'z' }, y: { domain: [0, Math.max(1.05, Math.min(peak * 1.08, 7))], bare: true } })
    const density = (mean, std) => xs.map(x => [x, Math.exp(logNormal(x, mean, std))])
    c.area(density(q.mean, q.std), 0, { colour: 'var(--accent)', opacity: 0.16 })
    c.line(density(0, 1), { colour: 'var(--quiet)', dash: '4 3', width: 1.2 })
    c.line(density(q.mean, q.std), { colour: 'var(--ink)' })
    c.say(-1.25, Math.exp(logNormal(1.25)), 'prior N(0, 1)', { anchor: 'end', dx: -8, dy: 0, colour: 'var(--quiet)' })
    const top = Math.exp(logNormal(0, 0, q.std))
    c.say(q.mean, top, `q = N(${plain(q.mean)}, ${plain(q.std)}²)`, { anchor: q.mean > 1.5 ? 'end' : 'start', dx: q.mean > 1.5 ? -13 : 13, dy: 3 })
    c.handle('std', { x: q.mean + q.std, y: top * Math.exp(-0.5), radius: 5, axis: 'x', step: [0.05, 0], label: 'σ of q', value: plain(q.std), move: x => { q = { ...q, std: clampStd(Math.abs(x - q.mean)) }; all() } })
    c.handle('mean', { x: q.mean, y: top, axis: 'x', step: [0.1, 0], label: 'μ of q', value: plain(q.mean), move: x => { q = { ...q, mean: clampMean(x) }; all() } })
  })
  const levels = [0.1, 0.5, 1, 2, 4]
  const field2 = tools.chart(right, { height: 300, label: 'KL over μ and σ, with this run’s latents', margin: { top: 26 } }, c => {
    const [mx, sy] = [[-3.2, 3.2], [0.06, 2.4]]
    c.axes({ x: { domain: mx, label: 'μ' }, y: { domain: [0.05, 2.5], log: true, ticks: [0.05, 0.1, 0.2, 0.5, 1, 2], label: 'σ', lines: false } })
    const xs = Array.from({ length: 81 }, (_, i) => mx[0] + (mx[1] - mx[0]) * i / 80)
    const ys = Array.from({ length: 81 }, (_, i) => Math.exp(Math.log(0.05) + (Math.log(2.5) - Math.log(0.05)) * i / 80))
    const values = new Float32Array(81 * 81)
    xs.forEach((x, i) => ys.forEach((y, j) => { values[i * 81 + j] = klOf(x, y) }))
    for (const level of levels) {
      c.contour(values, xs, ys, level, { colour: 'var(--quiet)', width: 0.9 })
      // where the contour leaves σ = 1 downwards at μ = 0
      let low = 0.001; let high = 1
      for (let i = 0; i < 40; i++) { const mid = Math.sqrt(low * high); if (klOf(0, mid) > level) low = mid; else high = mid }
      if (low > 0.06) c.say(0, low, short(level), { anchor: 'middle', dy: -3, colour: 'var(--quiet)' })
    }
    c.dot(0, 1, { ring: true, colour: 'var(--ink)', radius: 4 })
    c.say(0, 1, 'the prior', { anchor: 'middle', dy: -9, colour: 'var(--quiet)' })
    for (const d of dims) c.dot(clampMean(d.mean), Math.max(0.051, Math.min(2.45, d.std)), { radius: 3, colour: 'var(--ink)', opacity: 0.75, title: `latent ${d.i}: μ ${plain(d.mean)}, σ ${plain(d.std)}, ${plain(d.kl)} nats` })
    c.handle('both', { x: q.mean, y: q.std, label: 'μ and σ of q', step: [0.1, 0.05], anywhere: true, value: `μ ${plain(q.mean)}, σ ${plain(q.std)}, ${plain(klOf(q.mean, q.std))} nats`, move: (x, y) => { q = { mean: clampMean(x), std: clampStd(y) }; all() } })
  })
  function all () { curves.redraw(); field2.redraw(); tell() }
  function tell () {
    const { mean, std } = q
    live.replaceChildren(m.equation(m.row(m.words('KL'), m.op('='), m.frac(m.num(1), m.num(2)), m.tall(m.sup(m.id('μ'), m.num(2)), m.op('+'), m.sup(m.id('σ'), m.num(2)), m.op('−'), m.num(1), m.op('−'), m.log(m.sup(m.id('σ'), m.num(2)))), m.op('='), m.frac(m.num(1), m.num(2)), m.tall(m.num(plain(mean * mean)), m.op('+'), m.num(plain(std * std)), m.op('−'), m.num(1), m.op('−'), m.paren(m.num(plain(2 * Math.log(std))))), m.op('='), m.num(plain(klOf(mean, std))), m.gap, m.words('nats'))),
      h('p', { class: 'small' }, 'Nothing is paid at μ = 0 and σ = 1, where z says nothing about x. Halving σ costs about 0.69 nats, or one bit, for each halving; moving out costs the square of the way.'))
  }
  tell()
  section.append(mine(tools, seen => {
    const { mean0: mean, std0: std, kl0: kl } = seen.arrays
    if (kl.data.length !== mean.data.length || seen.rate === null) return seen.rate === null ? seen.why : 'Its posterior does not come apart into single latents: only the sum of the rate is known.'
    dims = Array.from(mean.data, (value, i) => ({ i, mean: value, std: std.data[i], kl: kl.data[i] }))
    field2.redraw()
    const top = [...dims].sort((a, b) => b.kl - a.kl)[0]
    return `The dots are its ${dims.length} latents${seen.layers.length > 1 ? ' of the top layer' : ''} for this example. Latent ${top.i} pays most: μ = ${plain(top.mean)}, σ = ${plain(top.std)}, ${plain(top.kl)} nats of ${number(seen.rate)}.`
  }))
  tools.saveable(field2, 'what-a-code-costs')
}

// 4
async function reparameterised (tools) {
  const { section } = tools
  const data = await lesson('plane')
  headed(section, 4, 'How gradients reach μ and σ',
    'The loss is a mean over draws of q, and a draw is a throw of dice: there is nothing to differentiate. So throw the dice first. The noise ε stays as it fell; z = μ + σ ε slides as μ and σ are moved, and the slope of the loss at each z flows back along the line that made it.')
  section.append(formula(m.row(m.id('z'), m.op('='), m.id('μ'), m.op('+'), m.id('σ'), m.id('ε'), m.op(','), m.gap, m.frac(m.row(m.op('∂'), m.id('L')), m.row(m.op('∂'), m.id('μ'))), m.op('='), m.under(m.op('∑'), m.id('k')), m.frac(m.num(1), m.id('K')), m.frac(m.row(m.op('∂'), m.id('L')), m.row(m.op('∂'), m.sub(m.id('z'), m.id('k')))), m.op(','), m.gap, m.frac(m.row(m.op('∂'), m.id('L')), m.row(m.op('∂'), m.id('σ'))), m.op('='), m.under(m.op('∑'), m.id('k')), m.frac(m.num(1), m.id('K')), m.frac(m.row(m.op('∂'), m.id('L')), m.row(m.op('∂'), m.sub(m.id('z'), m.id('k')))), m.sub(m.id('ε'), m.id('k'))),
    'μ feels the mean slope at the draws; σ feels the same slopes, each by its own noise. The curve is −log p(x|z) of a real decoder along one latent.'))
  const example = data.examples[0]
  const at = field(example, data.reach, data.points)
  const loss = z => -at(z, example.mean[1])
  const slope = z => (loss(z + 0.04) - loss(z - 0.04)) / 0.08
  let q = { mean: Math.max(-2.2, Math.min(2.2, example.mean[0] > 0 ? example.mean[0] - 1.1 : example.mean[0] + 1.1)), std: 0.5 }
  let seed = 3; let withKl = true; let playing = 0
  let noise = []
  const roll = () => { const normal = normals(seed); noise = Array.from({ length: 6 }, normal).sort((a, b) => a - b) }
  roll()
  const gradient = () => {
    const slopes = noise.map(e => slope(q.mean + q.std * e))
    const mean = slopes.reduce((a, b) => a + b, 0) / noise.length + (withKl ? q.mean : 0)
    const std = slopes.reduce((sum, s, k) => sum + s * noise[k], 0) / noise.length + (withKl ? q.std - 1 / q.std : 0)
    return { slopes, mean, std }
  }
  const descend = () => {
    const g = gradient()
    const pace = 0.12 / Math.max(1, Math.hypot(g.mean, g.std * q.std))
    q = { mean: Math.max(-3, Math.min(3, q.mean - pace * g.mean)), std: Math.max(0.06, Math.min(2, q.std * Math.exp(-pace * g.std * q.std))) }
    chart.redraw(); tell()
  }
  const play = toggle('Descend', false, now => {
    cancelAnimationFrame(playing)
    if (!now) return
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) { for (let i = 0; i < 60; i++) descend(); play.set(false); return }
    let left = 150
    const frame = () => { descend(); if (--left > 0) playing = requestAnimationFrame(frame); else play.set(false) }
    playing = requestAnimationFrame(frame)
  })
  tools.later(() => cancelAnimationFrame(playing))
  const where = h('div')
  const words = h('p', { class: 'reading', 'aria-live': 'off' })
  section.append(h('div', { class: 'bar' }, button('One step downhill', descend), play, button('New noise', () => { seed++; roll(); chart.redraw(); tell() }), toggle('with the KL', withKl, now => { withKl = now; chart.redraw(); tell() })), where, words)
  const chart = tools.chart(where, { height: w => Math.max(360, Math.min(460, w * 0.55)), label: 'noise, codes and the loss', margin: { left: 52, right: 24 } }, c => {
    const g = gradient()
    const [ground, tops] = [c.bottom, c.top]
    const bandTop = tops + 26
    const zLine = tops + (ground - tops) * 0.3
    const losses = Array.from({ length: 181 }, (_, i) => -3.4 + 6.8 * i / 180).map(z => [z, loss(z)])
    const domain = padded(extent(losses.map(p => p[1])), 0.05)
    const upper = c
    c.axes({ x: { domain: [-3.4, 3.4], label: 'z' } })
    const x = c.x
    // the noise above
    c.y = v => v
    c.add('text', { x: c.box.left, y: bandTop + 4, class: 'note' }, 'ε')
    c.add('text', { x: c.box.left, y: zLine + 4, class: 'note' }, 'z')
    c.add('line', { x1: c.left, x2: c.right, y1: bandTop + 0.5, y2: bandTop + 0.5, class: 'hair' })
    c.add('line', { x1: c.left, x2: c.right, y1: zLine + 0.5, y2: zLine + 0.5, class: 'hair' })
    for (const e of [-2, -1, 0, 1, 2]) c.add('text', { x: x(e), y: bandTop - 9, 'text-anchor': 'middle', class: 'tick' }, short(e))
    const lower = c.panel(0, zLine - c.box.top + 14, c.box.width, c.box.height - (zLine - c.box.top) - 14, { top: 6 })
    lower.x = x
    lower.axes({ y: { domain, label: '' } })
    lower.add('text', { x: lower.right, y: lower.top + 10, 'text-anchor': 'end', class: 'name' }, '−log p(x|z), nats')
    lower.line(losses, { colour: 'var(--quiet)' })
    const strongest = Math.max(...g.slopes.map(Math.abs), 1e-9)
    noise.forEach((e, k) => {
      const z = q.mean + q.std * e
      c.line([[e, bandTop], [z, zLine]], { colour: 'var(--quiet)', width: 0.9 })
      c.dot(e, bandTop, { radius: 3 })
      c.dot(z, zLine, { radius: 3 })
      lower.add('line', { x1: x(z), x2: x(z), y1: zLine, y2: lower.y(loss(z)), stroke: 'var(--hair)', 'stroke-width': 1 })
      lower.dot(z, loss(z), { radius: 3.5 })
      const reach = -g.slopes[k] / strongest * 0.55
      lower.arrow(z, loss(z), z + reach, loss(z), { colour: 'var(--ink)' })
    })
    const most = Math.max(Math.abs(g.mean), Math.abs(g.std), 1e-9)
    const way = v => -v / Math.max(most, 8) * 0.9
    c.arrow(q.mean, zLine + 15, q.mean + way(g.mean), zLine + 15, { colour: 'var(--accent)', width: 2.2 })
    c.arrow(q.mean + q.std, zLine - 15, q.mean + q.std + way(g.std), zLine - 15, { colour: 'var(--accent)', width: 2.2 })
    c.add('text', { x: x(q.mean), y: zLine + 32, 'text-anchor': 'middle', class: 'note' }, 'μ')
    c.add('text', { x: x(q.mean + q.std), y: zLine - 24, 'text-anchor': 'middle', class: 'note' }, 'μ + σ')
    upper.handle('std', { x: q.mean + q.std, y: zLine, radius: 5.5, axis: 'x', step: [0.05, 0], label: 'σ', value: plain(q.std), move: v => { q = { ...q, std: Math.max(0.06, Math.min(2, v - q.mean)) }; chart.redraw(); tell() } })
    upper.handle('mean', { x: q.mean, y: zLine, axis: 'x', step: [0.1, 0], label: 'μ', value: plain(q.mean), move: v => { q = { ...q, mean: Math.max(-3, Math.min(3, v)) }; chart.redraw(); tell() } })
    c.y = c.y.invert ? c.y : Object.assign(v => v, { invert: v => v })
  })
  function tell () {
    const g = gradient()
    words.textContent = `μ = ${plain(q.mean)}, σ = ${plain(q.std)}. Of the loss${withKl ? ', distortion and KL together' : ''}, ∂\u2060/\u2060∂μ = ${plain(g.mean)} and ∂\u2060/\u2060∂σ = ${plain(g.std)} nats for a unit: downhill is the way of the arrows.`
  }
  tell()
  const place = mine(tools, seen => {
    if (seen.rate === null) return 'Its posterior is a point: z = μ, and there is no noise to move.'
    const table = h('div', { class: 'scroll' })
    const words = h('p', {}, 'The latents that pay most, and one draw of their noise:')
    const roll = n => tools.own.noise(n).then(found => {
      if (!found) return
      if (found.failure) { table.replaceChildren(h('p', {}, found.failure)); return }
      const a = found.arrays
      const order = Array.from(a.kl.data.keys()).sort((i, j) => (a.kl.data[j] || 0) - (a.kl.data[i] || 0)).slice(0, 5)
      table.replaceChildren(h('table', { class: 'row-table' }, h('thead', {}, h('tr', {}, ['latent', 'μ', 'σ', 'ε', 'z = μ + σ ε', '∂D/∂μ', '∂D/∂σ'].map(t => h('th', {}, t)))),
        h('tbody', {}, order.map(i => h('tr', {}, [String(i), ...['mean', 'std', 'noise', 'code', 'by_code', 'by_std'].map(k => plain(a[k].data[i]))].map(t => h('td', {}, t)))))))
    })
    let n = 0
    roll(n)
    return h('div', {}, words, table, button('New noise', () => roll(++n)))
  })
  section.append(place)
  tools.saveable(chart, 'reparameterisation')
}

// 5
async function war (tools) {
  const { section, ctx } = tools
  const data = await lesson('tension')
  headed(section, 5, 'Tug of war',
    'The ELBO pulls both ways: distortion wants codes far apart and sharp, the rate wants them all alike. β weighs the rate. At one end stands the plain autoencoder, whose codes lie anywhere and whose space between them is empty; at the other, codes that say nothing. These are real models, trained on the same handwritten digits with the same seed.')
  section.append(formula(m.row(m.id('L'), m.op('='), m.op('−'), m.mean(m.qzx, m.log(m.pxz)), m.op('+'), m.id('β'), m.gap, m.KL(m.qzx, m.pz)),
    'Only β = 1 is a bound on log p(x); the ELBO told beside each model is taken at β = 1 whatever it was trained with.'))
  const where = h('div')
  section.append(where)
  const run = { x: 'image', reading: {} }
  const start = Math.min(data.points.length - 1, Math.max(0, Math.round(ctx.state.get('beta', data.points.findIndex(p => p.beta === 1)))))
  const points = data.points.map(point => ({ ...point, look: async () => ({ codes: point.codes, labels: data.labels, reach: point.reach, grid: flat(point.grid), rebuilt: flat(point.rebuilt), samples: flat(point.samples), plane: `${data.labels.shape[0]} training digits by their class, over what the plane decodes to${point.beta ? '; dashed: the prior at one and two standard deviations' : '; an autoencoder’s map reaches as far as its codes do, and its draws from N(0, I) land where it never learnt'}` }) }))
  const made = tug(where, { points, x: bytes(data.x, data.levels), run, start, label: 'β, from the plain autoencoder to thirty', chosen: i => ctx.state.set('beta', i) })
  tools.later(() => made.stop())
  tools.redraws(() => made.redraw())
  const beta = ctx.run?.config?.objective?.beta
  if (ctx.run?.finished && beta !== undefined && ctx.run.rate !== null) {
    section.append(h('div', { class: 'mine' }, h('span', { class: 'small' }, `In ${ctx.run.name}`), h('p', {}, `β = ${short(beta)}: rate ${number(ctx.run.rate)}, distortion ${number(ctx.run.distortion)}, ELBO ${number(ctx.run.elbo)} nats. A sweep of it is seen under Tension.`)))
  }
}

// 6
async function dying (tools) {
  const { section, ctx } = tools
  const data = await lesson('collapse')
  headed(section, 6, 'When codes die, and the cures',
    'A decoder that predicts each pixel from those before it can do without z. Early in training most latents are worth less than they cost, so they are dropped, and never picked up again: posterior collapse. Two cures, on the same digits with the same seed: let β rise more slowly, or let each latent carry a quarter of a nat free of charge. Drag through the training.')
  section.append(formula(m.row(m.sub(m.id('β'), m.id('t')), m.op('↑'), m.num(1), m.gap, m.words('or'), m.gap, m.under(m.op('∑'), m.id('i')), m.row(m.up('max'), m.paren(m.id('λ'), m.op(','), m.KL(m.row(m.sub(m.id('q'), m.id('i'))), m.row(m.sub(m.id('p'), m.id('i'))))))),
    'Annealing weighs the rate by a β that grows; free bits charge nothing below λ nats a latent, so there is nothing to win by dying.'))
  const last = data.runs[0].history.length - 1
  let t = last
  const where = h('div')
  const words = h('p', { class: 'reading', 'aria-live': 'polite' })
  section.append(where, words)
  const most = Math.max(...data.runs.flatMap(run => run.history.flatMap(row => row.kl)))
  const chart = tools.chart(where, { height: w => w < 640 ? 560 : 270, label: 'KL of each latent in the course of three trainings', margin: { left: 40, right: 14, top: 40, bottom: 44 } }, c => {
    const narrow = c.width < 640
    const n = data.runs.length
    data.runs.forEach((run, i) => {
      const [w, tall] = narrow ? [c.box.width, c.box.height / n] : [c.box.width / n, c.box.height]
      const p = c.panel(narrow ? 0 : i * w, narrow ? i * tall : 0, w, tall)
      const dims = run.history[0].kl.length
      const steps = run.history.map(row => row.step)
      const span = [0, steps.at(-1)]
      p.axes({ x: { domain: span, label: i === n - 1 || narrow ? 'step' : '', every: 70 }, y: { domain: [0, dims], ticks: [], lines: false } })
      p.add('text', { x: p.left, y: p.top - 22, class: 'note' }, run.name)
      p.add('text', { x: p.left, y: p.top - 7, class: 'name' }, `rate ${number(run.history[t].rate)} nats, β ${plain(run.history[t].beta)}`)
      if (i === 0 || narrow) p.add('text', { x: p.left - 8, y: (p.top + p.bottom) / 2, 'text-anchor': 'middle', transform: `rotate(-90 ${p.left - 12} ${(p.top + p.bottom) / 2})`, class: 'name' }, 'latents')
      const final = run.history.at(-1).kl
      const order = Array.from(final.keys()).sort((a, b) => final[a] - final[b])
      const values = new Float32Array(dims * steps.length)
      order.forEach((d, r) => run.history.forEach((row, k) => { values[r * steps.length + k] = row.kl[d] }))
      p.heat(values, dims, steps.length, { x: span, y: [0, dims], domain: [0, most] })
      p.rule({ x: steps[t] }, { colour: 'var(--accent)', dash: null, width: 1.5 })
      p.handle(`time${i}`, { x: steps[t], y: 0, label: `time in the training, ${run.name}`, axis: 'x', anywhere: true, step: [steps[1] - steps[0], 0], value: `step ${steps[t]}`, move: x => { t = steps.reduce((best, s, k) => Math.abs(s - x) < Math.abs(steps[best] - x) ? k : best, 0); chart.redraw(); tell() } })
    })
  })
  const strips = h('div', { class: 'three' })
  section.append(strips)
  const draws = []
  for (const run of data.runs) {
    const [x, rebuilt] = ['test examples', 'rebuilt'].map(label => sheet({ x: 'image' }, () => ({}), label))
    strips.append(h('div', {}, h('p', { class: 'small' }, run.words), x.element, rebuilt.element,
      h('dl', { class: 'facts' }, ...[['ELBO', `${number(run.elbo)} ± ${number(run.elbo_stderr)}`], [`IW-${run.iw.k}`, number(run.iw.value)], ['rate', number(run.rate)], ['active latents', `${run.active_units} of ${run.kl_per_dim.length}`]].flatMap(([name, value]) => [h('dt', {}, name), h('dd', { class: 'number' }, value)]))))
    draws.push(() => {
      const room = strips.firstChild.clientWidth
      x.draw(bytes(run.x, data.levels), { columns: 10, room, gap: 3, most: 1 })
      rebuilt.draw(flat(run.rebuilt), { columns: 10, room, gap: 3, most: 1 })
    })
  }
  const watch = new ResizeObserver(() => { for (const draw of draws) draw() })
  watch.observe(strips)
  tools.later(() => watch.disconnect())
  const spread = Math.max(...data.runs.map(run => run.elbo)) - Math.min(...data.runs.map(run => run.elbo))
  const close = spread < 2 * data.runs[0].elbo_stderr ? ` In the end their ELBOs differ by ${number(spread)} nats only: the bound alone does not tell whether a code is used.` : ''
  function tell () {
    const rows = data.runs.map(run => `${run.name} ${number(run.history[t].rate)}`)
    words.textContent = `Step ${data.runs[0].history[t].step.toLocaleString('en-US')}: the code carries ${rows.join(', ')} nats. Light is much, dark is nothing (0 to ${number(most)} nats a latent).${close}`
  }
  tell()
  const run = ctx.run
  if (run?.finished && run.latents) {
    section.append(h('div', { class: 'mine' }, h('span', { class: 'small' }, `In ${run.name}`), h('p', {}, `${run.active} of ${run.latents} latents are active; the code carries ${number(run.rate)} nats. Which, and since when, is seen under Training.`)))
  }
  tools.saveable(chart, 'when-codes-die')
}
