// Charts as SVG, drawn anew whenever their data, their width or the theme change; what can be dragged stays the same element,
// so that neither the pointer nor the keyboard's focus is lost.
//
//   const chart = figure(root, { height: 240, label: 'what it shows' }, c => {
//     c.axes({ x: { domain: [0, 10], label: 'step' }, y: { domain: [0, 1], label: 'nats' } })
//     c.line(points, { colour: 'var(--ink)' })
//     c.handle('mu', { x: 3, y: 0, label: 'μ', move: (x, y) => … })
//   })
//   chart.redraw(); chart.svg; chart.stop()

const SPACE = 'http://www.w3.org/2000/svg'
const NEAR = 26 // pixels within which a pointer takes hold of a handle

// the style sheet of a module, beside it
export function dressed (module, name) {
  const href = new URL(name, module).href
  if (document.querySelector(`link[href="${href}"]`)) return
  document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href }))
}
dressed(import.meta.url, 'plot.css')

export function number (value, digits = 2, plus = false) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  const sign = value < 0 && Number(value.toFixed(digits)) !== 0 ? '−' : plus ? '+' : ''
  return sign + Math.abs(value).toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

export function short (value) {
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1e6 || size < 1e-4) {
    const power = Math.floor(Math.log10(size))
    return `${number(value / 10 ** power, 0)}·10${superscript(power)}`
  }
  return (value < 0 ? '−' : '') + size.toLocaleString('en-US', { maximumSignificantDigits: 5 })
}

function superscript (power) {
  return String(power).replace(/./g, letter => letter === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[letter])
}

export function extent (...lists) {
  let low = Infinity; let high = -Infinity
  for (const list of lists) {
    for (const value of list) {
      if (Number.isFinite(value)) { if (value < low) low = value; if (value > high) high = value }
    }
  }
  if (low > high) return [0, 1]
  return low === high ? [low - 0.5, high + 0.5] : [low, high]
}

export function padded ([low, high], share = 0.06) {
  const margin = (high - low) * share
  return [low - margin, high + margin]
}

export function ticks ([low, high], count) {
  const raw = Math.abs(high - low) / Math.max(1, count)
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw * 0.999)
  const found = []
  for (let i = Math.ceil(Math.min(low, high) / step - 1e-9); i * step <= Math.max(low, high) + step * 1e-9; i++) found.push(i * step)
  return found.map(value => Number(value.toPrecision(12)))
}

function decades ([low, high], count) {
  const found = []
  for (let e = Math.ceil(Math.log10(low) - 1e-9); 10 ** e <= high * 1.0001; e++) found.push(10 ** e)
  const every = Math.ceil(found.length / Math.max(2, count))
  return found.filter((_, i) => i % every === 0)
}

let pen = null
export function rgb (colour) {
  pen ??= Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true })
  pen.clearRect(0, 0, 1, 1)
  pen.fillStyle = colour
  pen.fillRect(0, 0, 1, 1)
  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)
}

// the page's one scale for values: t from 0 to 1 → [r, g, b]
export function ramp () {
  const style = getComputedStyle(document.documentElement)
  const stops = Array.from({ length: 9 }, (_, i) => rgb(style.getPropertyValue(`--value-${i}`).trim() || '#888'))
  return t => {
    const at = Math.min(1, Math.max(0, Number.isFinite(t) ? t : 0)) * 8
    const i = Math.min(7, Math.floor(at))
    return stops[i].map((c, k) => c + (stops[i + 1][k] - c) * (at - i))
  }
}

export function figure (root, { height = 240, label = '', margin = {} } = {}, draw) {
  const svg = document.createElementNS(SPACE, 'svg')
  const back = document.createElementNS(SPACE, 'g')
  const front = document.createElementNS(SPACE, 'g')
  svg.classList.add('chart')
  svg.setAttribute('role', 'group')
  svg.setAttribute('aria-label', label)
  svg.append(back, front)
  root.append(svg)
  const handles = new Map()
  let waiting = 0; let width = 0; let held = null

  function redraw () {
    waiting = 0
    width = Math.floor(root.clientWidth)
    if (width < 40) return
    const tall = typeof height === 'function' ? height(width) : height
    svg.setAttribute('width', width)
    svg.setAttribute('height', tall)
    svg.setAttribute('viewBox', `0 0 ${width} ${tall}`)
    back.replaceChildren()
    for (const handle of handles.values()) handle.seen = false
    const room = { left: 46, right: 16, top: 12, bottom: 40, ...(typeof margin === 'function' ? margin(width) : margin) }
    draw(new Chart(back, front, handles, { left: 0, top: 0, width, height: tall }, room))
    for (const [key, handle] of handles) {
      if (!handle.seen) { handle.node.remove(); handles.delete(key) }
    }
  }
  function ask () { waiting ||= requestAnimationFrame(redraw) }

  function place (event) {
    const box = svg.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }
  function down (event) {
    const [x, y] = place(event)
    let best = null
    for (const handle of handles.values()) {
      const far = handle.distance(x, y)
      if (far < (best?.far ?? (handle.anywhere ? Infinity : NEAR))) best = { handle, far }
    }
    if (!best || event.button > 0) return
    held = best.handle
    svg.setPointerCapture(event.pointerId)
    svg.classList.add('held')
    held.node.focus({ preventScroll: true })
    held.to(x, y)
    event.preventDefault()
  }
  function move (event) { if (held) held.to(...place(event)) }
  function up () { held = null; svg.classList.remove('held') }
  svg.addEventListener('pointerdown', down)
  svg.addEventListener('pointermove', move)
  svg.addEventListener('pointerup', up)
  svg.addEventListener('pointercancel', up)
  // a finger on a handle drags it; elsewhere it scrolls the page
  svg.addEventListener('touchstart', event => { if (held) event.preventDefault() }, { passive: false })
  svg.addEventListener('touchmove', event => { if (held) event.preventDefault() }, { passive: false })

  const watch = new ResizeObserver(() => { if (Math.floor(root.clientWidth) !== width) ask() })
  watch.observe(root)
  redraw()
  return { svg, redraw: ask, now: redraw, stop () { watch.disconnect(); cancelAnimationFrame(waiting); svg.remove() } }
}

class Chart {
  constructor (group, front, handles, box, margin) {
    Object.assign(this, { group, front, handles, box, margin })
    this.width = box.width
    this.left = box.left + margin.left
    this.right = box.left + box.width - margin.right
    this.top = box.top + margin.top
    this.bottom = box.top + box.height - margin.bottom
    this.x = v => v
    this.y = v => v
  }

  // a part of the figure with scales of its own
  panel (left, top, width, height, margin = {}) {
    const box = { left: this.box.left + left, top: this.box.top + top, width, height }
    return new Chart(this.group, this.front, this.handles, box, { ...this.margin, ...margin })
  }

  add (name, attributes, text) {
    const made = document.createElementNS(SPACE, name)
    for (const [key, value] of Object.entries(attributes)) {
      if (value === undefined || value === null) continue
      if (key === 'fill' || key === 'stroke' || key === 'opacity') made.style[key] = value
      else made.setAttribute(key, value)
    }
    if (text !== undefined) made.textContent = text
    this.group.append(made)
    return made
  }

  axes ({ x, y }) {
    if (x) this.x = scale(x, this.left, this.right)
    if (y) this.y = scale(y, this.bottom, this.top)
    if (x && !x.bare) this.across(x)
    if (y && !y.bare) this.along(y)
    return this
  }

  across (axis) {
    const base = Math.round(this.bottom) + 0.5
    this.add('line', { x1: this.left, x2: this.right, y1: base, y2: base, class: 'hair' })
    const room = Math.max(2, Math.floor((this.right - this.left) / (axis.every ?? 80)))
    const at = axis.ticks ?? (axis.log ? decades(axis.domain, room) : ticks(axis.domain, room))
    for (const value of at) {
      const place = Math.round(this.x(value)) + 0.5
      if (place < this.left - 1 || place > this.right + 1.5) continue
      this.add('line', { x1: place, x2: place, y1: base, y2: base + 4, class: 'hair' })
      this.add('text', { x: place, y: base + 17, 'text-anchor': 'middle', class: 'tick' }, (axis.format ?? short)(value))
    }
    if (axis.label) this.add('text', { x: this.right, y: base + 33, 'text-anchor': 'end', class: 'name' }, axis.label)
  }

  along (axis) {
    const room = Math.max(2, Math.floor((this.bottom - this.top) / (axis.every ?? 34)))
    const at = axis.ticks ?? (axis.log ? decades(axis.domain, room) : ticks(axis.domain, room))
    for (const value of at) {
      const place = Math.round(this.y(value)) + 0.5
      if (place < this.top - 1 || place > this.bottom + 1.5) continue
      if (axis.lines !== false) this.add('line', { x1: this.left, x2: this.right, y1: place, y2: place, class: 'hair faint' })
      this.add('text', { x: this.left - 7, y: place + 4, 'text-anchor': 'end', class: 'tick' }, (axis.format ?? short)(value))
    }
    if (axis.label) this.add('text', { x: this.box.left, y: this.top - 9, class: 'name' }, axis.label)
  }

  line (points, { colour = 'var(--ink)', width = 1.5, dash, opacity } = {}) {
    let path = ''; let open = false
    for (const [x, y] of points) {
      const fine = Number.isFinite(x) && Number.isFinite(y)
      if (fine) path += `${open ? 'L' : 'M'}${this.x(x).toFixed(2)} ${this.y(y).toFixed(2)}`
      open = fine
    }
    return this.add('path', { d: path || 'M0 0', fill: 'none', stroke: colour, 'stroke-width': width, 'stroke-dasharray': dash, 'stroke-linejoin': 'round', opacity })
  }

  band (xs, low, high, { colour = 'var(--quiet)', opacity = 0.18 } = {}) {
    const up = Array.from(xs, (x, i) => `${this.x(x).toFixed(2)} ${this.y(high[i]).toFixed(2)}`)
    const down = Array.from(xs, (x, i) => `${this.x(x).toFixed(2)} ${this.y(low[i]).toFixed(2)}`).reverse()
    return this.add('path', { d: `M${[...up, ...down].join('L')}Z`, fill: colour, opacity })
  }

  area (points, base, { colour = 'var(--quiet)', opacity = 0.25 } = {}) {
    return this.band(points.map(p => p[0]), points.map(() => base), points.map(p => p[1]), { colour, opacity })
  }

  rect (x0, y0, x1, y1, { colour = 'var(--quiet)', opacity, title } = {}) {
    const [a, b] = [this.x(x0), this.x(x1)].sort((p, q) => p - q)
    const [c, d] = [this.y(y0), this.y(y1)].sort((p, q) => p - q)
    const made = this.add('rect', { x: a, y: c, width: Math.max(0, b - a), height: Math.max(0, d - c), fill: colour, opacity })
    if (title) made.append(titled(title))
    return made
  }

  dot (x, y, { colour = 'var(--ink)', radius = 3, ring, opacity, title } = {}) {
    const made = this.add('circle', { cx: this.x(x), cy: this.y(y), r: radius, fill: ring ? 'none' : colour, stroke: ring ? colour : undefined, 'stroke-width': ring ? 1.5 : undefined, opacity })
    if (title) made.append(titled(title))
    return made
  }

  // a hairline across the whole panel
  rule ({ x, y }, { colour = 'var(--quiet)', dash = '2 3', width = 1 } = {}) {
    const [x1, x2] = x === undefined ? [this.left, this.right] : [Math.round(this.x(x)) + 0.5, Math.round(this.x(x)) + 0.5]
    const [y1, y2] = y === undefined ? [this.top, this.bottom] : [Math.round(this.y(y)) + 0.5, Math.round(this.y(y)) + 0.5]
    return this.add('line', { x1, x2, y1, y2, stroke: colour, 'stroke-dasharray': dash, 'stroke-width': width })
  }

  arrow (x0, y0, x1, y1, { colour = 'var(--ink)', width = 1.5 } = {}) {
    const [a, b, c, d] = [this.x(x0), this.y(y0), this.x(x1), this.y(y1)]
    const length = Math.hypot(c - a, d - b)
    if (length < 1.5) return
    const [u, v] = [(c - a) / length, (d - b) / length]
    const head = Math.min(7, length * 0.6)
    this.add('line', { x1: a, y1: b, x2: c - u * head * 0.8, y2: d - v * head * 0.8, stroke: colour, 'stroke-width': width })
    const wing = head * 0.45
    this.add('path', { d: `M${c} ${d}L${c - u * head - v * wing} ${d - v * head + u * wing}L${c - u * head + v * wing} ${d - v * head - u * wing}Z`, fill: colour })
  }

  // text at a place of the scales, moved by dx and dy pixels
  say (x, y, text, { anchor = 'start', dx = 0, dy = 4, colour, kind = 'note' } = {}) {
    return this.add('text', { x: this.x(x) + dx, y: this.y(y) + dy, 'text-anchor': anchor, class: kind, fill: colour }, text)
  }

  // names beside the ends of lines, moved apart where they would cover each other
  ends (items, { gap = 15, at } = {}) {
    const placed = items.filter(item => Number.isFinite(item.y)).map(item => ({ ...item, to: this.y(item.y) })).sort((a, b) => a.to - b.to)
    for (let i = 1; i < placed.length; i++) placed[i].to = Math.max(placed[i].to, placed[i - 1].to + gap)
    const over = placed.length ? placed.at(-1).to - this.bottom : 0
    if (over > 0) for (let i = placed.length - 1; i >= 0; i--) placed[i].to = Math.min(placed[i].to, this.bottom - (placed.length - 1 - i) * gap)
    for (const item of placed) {
      this.add('text', { x: (at ?? this.right) + 7, y: item.to + 4, class: 'note', fill: item.colour ?? 'var(--ink)' }, item.text)
    }
  }

  // values (rows × columns), the first row lowest, over a rectangle of the scales
  heat (values, rows, columns, { x, y, domain, smooth = false, colour = ramp() }) {
    const canvas = Object.assign(document.createElement('canvas'), { width: columns, height: rows })
    const pen = canvas.getContext('2d')
    const image = pen.createImageData(columns, rows)
    const [low, high] = domain ?? extent(values)
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const value = values[r * columns + c]
        const at = ((rows - 1 - r) * columns + c) * 4
        const [red, green, blue] = colour((value - low) / (high - low))
        image.data.set([red, green, blue, Number.isFinite(value) ? 255 : 0], at)
      }
    }
    pen.putImageData(image, 0, 0)
    return this.image(canvas, x, y, smooth)
  }

  image (canvas, [x0, x1], [y0, y1], smooth = false) {
    const made = this.add('image', {
      x: this.x(x0), y: this.y(y1), width: this.x(x1) - this.x(x0), height: this.y(y0) - this.y(y1), preserveAspectRatio: 'none'
    })
    made.setAttribute('href', canvas.toDataURL())
    if (!smooth) made.style.imageRendering = 'pixelated'
    return made
  }

  // a contour of values (nx × ny, the first axis x) at a level: marching squares, each segment by itself
  contour (values, xs, ys, level, { colour = 'var(--ink)', width = 1, dash } = {}) {
    let path = ''
    const ny = ys.length
    const cut = (a, b, va, vb) => a + (b - a) * (level - va) / (vb - va)
    for (let i = 0; i + 1 < xs.length; i++) {
      for (let j = 0; j + 1 < ny; j++) {
        const v = [values[i * ny + j], values[(i + 1) * ny + j], values[(i + 1) * ny + j + 1], values[i * ny + j + 1]]
        const corners = [[xs[i], ys[j]], [xs[i + 1], ys[j]], [xs[i + 1], ys[j + 1]], [xs[i], ys[j + 1]]]
        const hits = []
        for (let e = 0; e < 4; e++) {
          const f = (e + 1) % 4
          if ((v[e] < level) !== (v[f] < level)) hits.push([cut(corners[e][0], corners[f][0], v[e], v[f]), cut(corners[e][1], corners[f][1], v[e], v[f])])
        }
        for (let h = 0; h + 1 < hits.length; h += 2) {
          path += `M${this.x(hits[h][0]).toFixed(1)} ${this.y(hits[h][1]).toFixed(1)}L${this.x(hits[h + 1][0]).toFixed(1)} ${this.y(hits[h + 1][1]).toFixed(1)}`
        }
      }
    }
    if (path) this.add('path', { d: path, fill: 'none', stroke: colour, 'stroke-width': width, 'stroke-dasharray': dash })
  }

  // what can be dragged: a dot in the accent, moved by pointer and arrow keys
  handle (key, { x, y, label, move, step = [0.1, 0.1], radius = 7, anywhere = false, axis = 'xy', value }) {
    const chart = this
    let handle = this.handles.get(key)
    if (!handle) {
      const node = document.createElementNS(SPACE, 'circle')
      node.setAttribute('tabindex', '0')
      node.setAttribute('role', 'slider')
      node.classList.add('handle')
      handle = { node }
      node.addEventListener('keydown', event => handle.key(event))
      this.front.append(node)
      this.handles.set(key, handle)
    }
    const { node } = handle
    const [px, py] = [this.x(x), this.y(y)]
    node.setAttribute('cx', px)
    node.setAttribute('cy', py)
    node.setAttribute('r', radius)
    node.setAttribute('aria-label', label)
    node.setAttribute('aria-valuenow', Number((axis === 'y' ? y : x).toPrecision(4)))
    node.setAttribute('aria-valuetext', value ?? `${number(x)}, ${number(y)}`)
    handle.seen = true
    handle.anywhere = anywhere
    handle.distance = (a, b) => {
      const far = Math.hypot(a - px, b - py)
      const inside = a >= chart.left - 9 && a <= chart.right + 9 && b >= chart.top - 9 && b <= chart.bottom + 9
      return anywhere ? (inside ? Math.min(far, NEAR + 1) : Infinity) : far < NEAR ? far : Infinity
    }
    handle.to = (a, b) => move(chart.x.invert(a), chart.y.invert(b))
    handle.key = event => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key]
      if (!way) return
      const by = event.shiftKey ? 0.2 : 1
      const one = axis === 'x' ? [way[0] + way[1], 0] : axis === 'y' ? [0, way[0] + way[1]] : way
      move(x + one[0] * step[0] * by, y + one[1] * step[1] * by)
      event.preventDefault()
      event.stopPropagation()
    }
    return node
  }
}

function titled (text) {
  const made = document.createElementNS(SPACE, 'title')
  made.textContent = text
  return made
}

function scale ({ domain: [low, high], log = false }, from, to) {
  const f = log ? Math.log10 : v => v
  const [a, b] = [f(low), f(high)]
  const made = v => from + (f(v) - a) / (b - a) * (to - from)
  made.invert = p => { const t = a + (p - from) / (to - from) * (b - a); return log ? 10 ** t : t }
  return made
}

// counts of values in even bins: [{ low, high, count }]
export function histogram (values, bins = 30, domain = extent(values)) {
  const [low, high] = domain
  const found = Array.from({ length: bins }, (_, i) => ({ low: low + (high - low) * i / bins, high: low + (high - low) * (i + 1) / bins, count: 0 }))
  for (const value of values) {
    if (value >= low && value <= high) found[Math.min(bins - 1, Math.floor((value - low) / (high - low) * bins))].count++
  }
  return found
}

// a copy of a chart that needs no style sheet
export function standalone (svg) {
  const copy = svg.cloneNode(true)
  const theirs = [svg, ...svg.querySelectorAll('*')]
  ;[copy, ...copy.querySelectorAll('*')].forEach((node, i) => {
    const seen = getComputedStyle(theirs[i])
    for (const name of ['fill', 'stroke', 'opacity', 'font-size', 'font-family', 'font-variant-numeric', 'stroke-width', 'stroke-dasharray']) {
      const value = seen.getPropertyValue(name)
      if (value) node.style.setProperty(name, value)
    }
  })
  copy.setAttribute('xmlns', SPACE)
  copy.style.background = getComputedStyle(document.documentElement).getPropertyValue('--paper')
  return copy
}
