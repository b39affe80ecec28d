// The tug of war between rate and distortion: a point on the curve is moved, and its map, reconstructions and samples are seen.
import { h, plain } from './controls.js'
import { dense, pixels, isImage, sheet } from './picture.js'
import { dressed, extent, figure, number, padded } from './plot.js'

dressed(import.meta.url, 'tug.css')

// The plane of a model on a canvas: what it decodes to lies under where its codes lie. Square, `size` CSS pixels a side.
export function drawPlane (canvas, { codes, labels, grid, reach }, size, colours, circles = true) {
  const d = dense()
  canvas.width = canvas.height = Math.round(size * d)
  canvas.style.width = canvas.style.height = `${size}px`
  const g = canvas.getContext('2d')
  g.clearRect(0, 0, canvas.width, canvas.height)
  const across = grid && isImage(grid) ? Math.round(Math.sqrt(grid.shape[0])) : 0
  const every = across > 9 && across % 2 ? 2 : 1 // many small pictures are a texture, and no longer seen one by one
  const shown = Math.ceil(across / every)
  const edge = shown ? reach * shown / (shown - 1) : reach // so that each picture is centred on the place it was decoded at
  const at = v => (v + edge) / (2 * edge) * canvas.width
  if (shown) {
    const [, tall, wide] = grid.shape
    const spare = Object.assign(document.createElement('canvas'), { width: wide, height: tall })
    const side = canvas.width / shown
    const inset = Math.round(side * 0.06)
    g.globalAlpha = codes ? 0.55 : 1
    g.imageSmoothingEnabled = false
    for (let i = 0; i < shown; i++) {
      for (let j = 0; j < shown; j++) {
        spare.getContext('2d').putImageData(pixels(grid, i * every * across + j * every), 0, 0)
        const [x, y] = [Math.round(i * side), Math.round((shown - 1 - j) * side)]
        g.drawImage(spare, x + inset, y + inset, Math.round((i + 1) * side) - x - 2 * inset, Math.round((shown - j) * side) - y - 2 * inset)
      }
    }
    g.globalAlpha = 1
  }
  if (circles) {
    g.lineWidth = d
    g.strokeStyle = colours.ink
    g.setLineDash([4 * d, 4 * d])
    for (const r of [1, 2]) {
      g.beginPath()
      g.arc(at(0), at(0), r / (2 * edge) * canvas.width, 0, 2 * Math.PI)
      g.stroke()
    }
    g.setLineDash([])
  }
  if (codes) {
    for (let i = 0; i < codes.shape[0]; i++) {
      g.fillStyle = labels ? colours[`class${labels.data[i] % 10}`] : colours.ink
      g.beginPath()
      g.arc(at(codes.data[2 * i]), canvas.height - at(codes.data[2 * i + 1]), 2.1 * d, 0, 2 * Math.PI)
      g.fill()
    }
  }
}

// Colours of the page by the names that drawPlane knows, whatever the frame calls them.
export function paints () {
  const style = getComputedStyle(document.documentElement)
  const read = name => style.getPropertyValue(name).trim()
  const found = { ink: read('--ink'), quiet: read('--quiet'), hair: read('--hair'), accent: read('--accent'), paper: read('--paper') }
  for (let i = 0; i < 10; i++) found[`class${i}`] = read(`--class-${i}`)
  return found
}

// points: [{ name, beta, rate, distortion, elbo, elbo_stderr, look () → Promise of { codes, labels, reach, grid, rebuilt,
// samples, plane } }]; x: the examples that are rebuilt; run: what pictures of x are drawn by
export function tug (root, { points, x, run, start = 0, unit = 'nats', chosen = () => {}, label, frontier = null }) {
  let now = start; let stopped = false
  const placed = points.map((point, i) => ({ ...point, i })).filter(point => point.rate !== null)
  const canvas = h('canvas', { role: 'img', 'aria-label': 'codes over what the plane decodes to' })
  const chartRoot = h('div', { class: 'tug-chart' })
  const words = h('p', { class: 'small tug-words' })
  const range = h('input', { type: 'range', min: 0, max: points.length - 1, step: 1, value: start, 'aria-label': label ?? 'β' })
  const named = h('span', { class: 'number' })
  const colours = paints
  const sheets = Object.fromEntries(['x', 'rebuilt', 'samples'].map(key => [key, sheet(run, () => colours(), { x: 'examples', rebuilt: 'rebuilt', samples: 'samples' }[key])]))
  const strip = h('div', { class: 'tug-strip' },
    h('span', { class: 'small' }, 'test examples'), sheets.x.element,
    h('span', { class: 'small' }, 'rebuilt'), sheets.rebuilt.element,
    h('span', { class: 'small' }, 'drawn from the prior'), sheets.samples.element)
  const facts = h('dl', { class: 'facts' })
  const left = h('div', { class: 'tug-map' }, canvas, words)
  const right = h('div', { class: 'tug-right' }, h('label', { class: 'tug-slide' }, range, named), facts, chartRoot, strip)
  root.append(h('div', { class: 'tug' }, left, right))

  const [rates, distortions] = [padded(extent(placed.map(p => p.rate)), 0.08), padded(extent(placed.map(p => p.distortion)), 0.1)]
  rates[0] = Math.min(0, ...placed.map(p => p.rate)) - rates[1] * 0.03
  const chart = figure(chartRoot, { height: w => Math.max(190, Math.min(300, w * 0.62)), label: 'distortion against rate, a point for each model', margin: { top: 22 } }, c => {
    c.axes({ x: { domain: rates, label: `rate, ${unit}` }, y: { domain: distortions, label: `distortion, ${unit}` } })
    const order = frontier ? frontier.map(i => points[i]) : [...placed].sort((a, b) => a.rate - b.rate)
    c.line(order.map(p => [p.rate, p.distortion]), { colour: 'var(--quiet)', width: 1 })
    for (const p of placed) {
      c.dot(p.rate, p.distortion, { colour: 'var(--ink)', radius: 3, title: `${p.name}: rate ${number(p.rate)}, distortion ${number(p.distortion)}` })
      if (p.i !== now) c.say(p.rate, p.distortion, p.name.replace('β = ', ''), { dx: 6, dy: -6, colour: 'var(--quiet)' })
    }
    const here = points[now]
    if (here.rate === null) {
      c.say(rates[1], distortions[1], 'a point posterior: no rate, so no point here', { anchor: 'end', dy: 12, dx: -2 })
      return
    }
    c.line([[rates[0], here.rate + here.distortion - rates[0]], [rates[1], here.rate + here.distortion - rates[1]]].map(([u, v]) => clip(u, v, here, distortions)), { colour: 'var(--accent)', width: 1, dash: '2 3' })
    c.handle('beta', {
      x: here.rate, y: here.distortion, label: `model on the curve, ${here.name}`, value: here.name, anywhere: true, axis: 'x', step: [0, 0],
      move: (rate, distortion) => {
        const near = p => Math.hypot(c.x(p.rate) - c.x(rate), c.y(p.distortion) - c.y(distortion))
        go(placed.reduce((best, p) => near(p) < near(best) ? p : best).i)
      }
    })
  })

  async function go (i, force = false) {
    if (i === now && !force) return
    now = i
    range.value = i
    const point = points[i]
    named.textContent = point.name
    range.setAttribute('aria-valuetext', point.name)
    facts.replaceChildren(...[
      ['distortion', point.distortion === null ? '–' : `${number(point.distortion)} ${unit}`],
      ['rate', point.rate === null ? 'none: a point has no density' : `${number(point.rate)} ${unit}`],
      ['ELBO', point.elbo === null ? 'none' : `${number(point.elbo)} ${point.elbo_stderr ? `± ${number(point.elbo_stderr)} ` : ''}${unit}`]
    ].flatMap(([name, value]) => [h('dt', {}, name), h('dd', { class: 'number' }, value)]))
    chart.redraw()
    chosen(i)
    await show()
  }

  async function show () {
    const i = now
    let seen
    try { seen = await points[i].look() } catch (error) { if (!stopped && i === now) words.textContent = String(error.message ?? error); return }
    if (stopped || i !== now) return
    const size = Math.max(160, Math.min(left.clientWidth, 560))
    drawPlane(canvas, seen, size, paints())
    canvas.classList.add('drawn')
    words.textContent = seen.plane
    const room = Math.max(160, strip.clientWidth)
    const n = seen.rebuilt.shape[0]
    const across = isImage(seen.rebuilt) ? (room < 330 ? Math.ceil(n / 2) : n) : 5
    sheets.x.draw(seen.x ?? x, { columns: across, room, gap: 3, most: 1.6 })
    sheets.rebuilt.draw(seen.rebuilt, { columns: across, room, gap: 3, most: 1.6 })
    sheets.samples.draw(seen.samples, { columns: across, room, gap: 3, most: 1.6 })
  }
  range.addEventListener('input', () => go(Number(range.value)))
  const watch = new ResizeObserver(() => show())
  watch.observe(left)
  go(start, true)
  return { chart, canvas, redraw () { chart.redraw(); show() }, stop () { stopped = true; watch.disconnect(); chart.stop() } }
}

// a point of the line of equal ELBO through `here`, kept inside the panel
function clip (rate, distortion, here, [low, high]) {
  const total = here.rate + here.distortion
  const kept = Math.min(high, Math.max(low, distortion))
  return [total - kept, kept]
}
