// A training as it goes on, or as it went: its journal is read a few lines at a time.
import { button, h, plain } from '../parts/controls.js'
import { dressed, extent, figure, number, padded, short, standalone } from '../parts/plot.js'

dressed(import.meta.url, 'records.css')

export const name = 'training'
export const title = 'Training'
export function unavailable () { return null }

const SOON = 1500; const LATE = 5000 // milliseconds between looks at a training, and at one that has ended or is hidden
const QUIET = 120 // seconds without a line, after which a training may well have been stopped
const SCALARS = ['step', 'epoch', 'seconds', 'beta', 'distortion', 'rate', 'elbo', 'active_units', 'information']
const TRAIN = ['train_step', 'train_distortion', 'train_rate', 'train_examples_per_second']

export async function mount (root, ctx) {
  const { run, state } = ctx
  const status = h('p', { class: 'status', role: 'status' }, '…')
  const reading = h('p', { class: 'small' })
  const grid = h('div', { class: 'two-wide' })
  const heat = h('section', { class: 'block' }, h('h2', {}, 'KL of each latent over time'))
  root.append(h('h1', {}, 'Training'), status, reading, grid, heat)
  let columns = {}; let kl = []; let layer = []; let offset = 0; let meta = {}; let at = null; let timer = 0; let stopped = false
  const fresh = () => { columns = Object.fromEntries([...SCALARS, ...TRAIN].map(key => [key, []])); kl = [] }
  fresh()
  const charts = []

  function add (where, words, options, draw) {
    const section = where === grid ? h('section', { class: 'block' }, h('h2', {}, words)) : where
    if (where === grid) grid.append(section)
    const made = figure(section, { height: 190, margin: { top: 20, right: 84, left: 54 }, ...options, label: words }, draw)
    charts.push(made)
    section.append(h('p', { class: 'corner' }, button('Save as SVG', () => ctx.save(standalone(made.svg), `${words.toLowerCase().replaceAll(' ', '-')}.svg`), { class: 'quiet' })))
    return section
  }

  // as far as the plan goes, or twice as far as the training is, so that its beginning can be seen
  const span = () => {
    const now = columns.step.at(-1) ?? 1
    return [0, Math.max(now, meta.finished ? now : Math.min(meta.steps ?? now, 2 * now), 1)]
  }
  const index = () => at === null ? columns.step.length - 1 : Math.min(at, columns.step.length - 1)
  function cursor (c, key, values) {
    const i = index()
    if (i < 0) return
    const step = columns.step[i]
    c.rule({ x: step }, { colour: 'var(--accent)' })
    const [low, high] = [c.y.invert(c.bottom), c.y.invert(c.top)]
    const value = Math.max(low, Math.min(high, Number.isFinite(values?.[i]) ? values[i] : low))
    c.handle(key, {
      x: step, y: value, axis: 'x', radius: 5, anywhere: true, label: `step of ${key}`, step: [columns.step[1] - columns.step[0] || 1, 0],
      value: `step ${step}, ${key} ${number(values?.[i])}`,
      move: x => {
        at = columns.step.reduce((best, s, k) => Math.abs(s - x) < Math.abs(columns.step[best] - x) ? k : best, 0)
        state.set('step', at === columns.step.length - 1 ? null : columns.step[at])
        if (at === columns.step.length - 1) at = null // the end stays the end while it moves
        redraw()
      }
    })
  }
  // what lies outside the middle is cut off at the start, where a loss falls from the sky
  function tame (...lists) {
    const all = lists.flat().filter(Number.isFinite)
    if (all.length < 8) return padded(extent(all), 0.08)
    const sorted = [...all].sort((a, b) => a - b)
    const inner = extent(sorted.slice(0, Math.ceil(sorted.length * 0.97)))
    return padded([sorted[0], inner[1]], 0.08)
  }
  function curve (key, unit, { train = false, domain, pick = tame, digits = 2, steps = false } = {}) {
    return c => {
      const values = columns[key]
      const usual = train ? columns[`train_${key}`] : []
      if (!values.some(Number.isFinite)) return
      const limits = domain?.() ?? pick(values, usual)
      c.axes({ x: { domain: span(), label: 'step' }, y: { domain: limits, label: unit } })
      const clip = v => Math.min(limits[1], Math.max(limits[0], v))
      if (train) c.line(columns.train_step.map((s, i) => [s, clip(usual[i])]), { colour: 'var(--quiet)', width: 1.2 })
      const points = columns.step.map((s, i) => [s, clip(values[i])])
      c.line(steps ? points.flatMap(([s, v], i) => i ? [[s, points[i - 1][1]], [s, v]] : [[s, v]]) : points)
      const end = [{ y: clip(values.at(-1)), text: train ? 'validation' : number(values.at(-1), digits) }]
      if (train) end.push({ y: clip(usual.at(-1)), text: 'training', colour: 'var(--quiet)' })
      c.ends(end, { at: c.x(columns.step.at(-1)) })
      cursor(c, key, values)
    }
  }
  add(grid, 'ELBO', {}, curve('elbo', 'nats', { pick: list => { const [low, high] = extent(list); const sorted = [...list].filter(Number.isFinite).sort((a, b) => a - b); return padded([Math.max(low, sorted[Math.floor(sorted.length * 0.04)] ?? low), high], 0.08) } }))
  add(grid, 'Distortion', {}, curve('distortion', 'nats', { train: true }))
  add(grid, 'Rate', {}, curve('rate', 'nats', { train: true, pick: (...lists) => padded(extent([0], ...lists), 0.06) }))
  const weight = add(grid, 'β', { height: 170 }, curve('beta', '', { domain: () => [0, Math.max(1e-6, ...columns.beta) * 1.12], digits: 2 }))
  const active = add(grid, 'Active latents', { height: 170 }, curve('active_units', 'of all', { domain: () => [0, Math.max(1, kl[0]?.length ?? 1, ...columns.active_units.filter(Number.isFinite)) * 1.06], digits: 0, steps: true }))
  const told = add(grid, 'What the latents tell of x', { height: 170 }, curve('information', 'nats, at least', { pick: (...lists) => padded(extent([0], ...lists), 0.06) }))
  add(heat, 'KL of each latent over time', {
    height: () => 76 + Math.min(420, Math.max(60, (kl.at(-1)?.length ?? 4) * ((kl.at(-1)?.length ?? 4) > 40 ? 5 : 13))), margin: { top: 20, right: 84, left: 54 }
  }, c => {
    const last = kl.at(-1)
    if (!last?.length) return
    const dims = last.length; const times = kl.length
    const order = Array.from(last.keys()).sort((a, b) => (layer[b] - layer[a]) || (last[a] - last[b]))
    const values = new Float32Array(dims * times)
    order.forEach((d, r) => kl.forEach((row, t) => { values[r * times + t] = row[d] ?? NaN }))
    const most = kl.reduce((m, row) => row.reduce((a, b) => Number.isFinite(b) ? Math.max(a, b) : a, m), 0)
    const first = columns.step.length > 1 ? columns.step[0] - (columns.step[1] - columns.step[0]) : 0
    c.axes({ x: { domain: span(), label: 'step' }, y: { domain: [0, dims], ticks: [], lines: false } })
    c.heat(values, dims, times, { x: [Math.max(0, first), columns.step.at(-1)], y: [0, dims], domain: [0, most || 1] })
    const several = layer.some(l => l !== layer[0])
    if (several) order.forEach((d, r) => { if (r && layer[d] !== layer[order[r - 1]]) c.line([[0, r], [columns.step.at(-1), r]], { colour: 'var(--paper)', width: 2 }) })
    if (dims <= 30) order.forEach((d, r) => c.add('text', { x: c.left - 7, y: c.y(r + 0.5) + 4, 'text-anchor': 'end', class: 'tick' }, several ? `${layer[d] + 1}·${d - layer.indexOf(layer[d])}` : String(d)))
    c.add('text', { x: c.box.left, y: c.top - 7, class: 'name' }, several ? 'layer · latent' : 'latent')
    const i = index()
    const bar = c.right + 26
    for (let s = 0; s < 40; s++) {
      const made = c.add('rect', { x: bar, y: c.bottom - (s + 1) / 40 * (c.bottom - c.top), width: 9, height: (c.bottom - c.top) / 40 + 1 })
      made.style.fill = `color-mix(in srgb, var(--value-${Math.min(8, Math.floor(s / 5) + 1)}) ${(s % 5) * 20}%, var(--value-${Math.min(8, Math.floor(s / 5))}))`
    }
    c.add('text', { x: bar + 14, y: c.top + 10, class: 'tick' }, short(Number(most.toPrecision(2))))
    c.add('text', { x: bar + 14, y: c.bottom, class: 'tick' }, '0 nats')
    if (i >= 0) cursor(c, 'kl', null)
  })

  function redraw () {
    for (const made of charts) made.redraw()
    const i = index()
    if (i < 0) return
    const said = [
      ['step', columns.step[i].toLocaleString('en-US')], ['epoch', plain(columns.epoch[i], 1)], ['ELBO', `${number(columns.elbo[i])} nats`],
      ['distortion', `${number(columns.distortion[i])} nats`], ['rate', `${number(columns.rate[i])} nats`], ['β', plain(columns.beta[i])]
    ]
    reading.textContent = said.map(([key, value]) => `${key} ${value}`).join(' · ')
  }

  function tell () {
    const n = columns.step.length
    if (!n) { status.textContent = meta.finished ? 'This run has no journal of its training.' : 'The training has begun; its first validation is still to come.'; return }
    const step = columns.step.at(-1).toLocaleString('en-US')
    const whole = meta.steps ? ` of ${meta.steps.toLocaleString('en-US')}` : ''
    const lately = Date.now() / 1000 - meta.modified < QUIET
    status.classList.toggle('live', !meta.finished && lately)
    const pace = columns.train_examples_per_second.at(-1)
    status.textContent = meta.finished
      ? `Finished: ${step} steps in ${duration(columns.seconds.at(-1))}.`
      : `${lately ? 'In training' : 'Not finished, and nothing new for a while'}: step ${step}${whole}${Number.isFinite(pace) ? `, ${Math.round(pace).toLocaleString('en-US')} examples a second` : ''}. Numbers of ${new Date(meta.modified * 1000).toLocaleString()}.`
    told.hidden = !columns.information.some(Number.isFinite)
    heat.hidden = !kl.at(-1)?.length
    weight.hidden = new Set(columns.beta).size < 2 && n > 1
    active.hidden = !columns.active_units.some(Number.isFinite)
    grid.firstChild.hidden = !columns.elbo.some(Number.isFinite)
    if (grid.firstChild.hidden && !grid.noted) {
      grid.noted = true
      grid.before(h('p', { class: 'small' }, 'No ELBO is drawn: a point posterior has no density, so no bound exists.'))
    }
  }

  async function poll () {
    if (stopped) return
    let grew = false
    if (!document.hidden) {
      try {
        const found = await ctx.ask('metrics', { offset }, 'metrics')
        if (stopped) return
        const { arrays } = found
        const steps = arrays.step.data
        if (found.again || (steps.length && columns.step.length && steps[0] <= columns.step.at(-1) && offset)) { fresh(); at = null }
        meta = found
        offset = found.offset
        grew = steps.length > 0
        for (const key of [...SCALARS, ...TRAIN]) columns[key].push(...arrays[key].data)
        const width = arrays.kl.shape[1]
        for (let t = 0; t < arrays.kl.shape[0]; t++) kl.push(Array.from(arrays.kl.data.subarray(t * width, (t + 1) * width)))
        if (arrays.layer.data.length) layer = Array.from(arrays.layer.data)
        tell()
        if (grew) redraw()
      } catch (error) { status.textContent = error.message }
    }
    if (!stopped) timer = setTimeout(poll, meta.finished || document.hidden ? LATE : SOON)
  }
  ctx.onTheme(redraw)
  await poll()
  const asked = state.get('step', -1)
  if (asked >= 0 && columns.step.length) { at = columns.step.reduce((best, s, k) => Math.abs(s - asked) < Math.abs(columns.step[best] - asked) ? k : best, 0); redraw() }
  return () => { stopped = true; clearTimeout(timer); for (const made of charts) made.stop() }
}

function duration (seconds) {
  if (!Number.isFinite(seconds)) return 'an unknown time'
  if (seconds < 90) return `${plain(seconds, 1)} s`
  return seconds < 5400 ? `${plain(seconds / 60, 1)} min` : `${plain(seconds / 3600, 1)} h`
}
