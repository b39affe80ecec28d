// Many points in a plane, one of which can be dragged. Points are drawn once to a canvas of their own, which is moved and
// stretched while the view moves and drawn anew when it rests; so a map of 70,000 stays smooth.
import { h, plain } from './controls.js'
import { dense } from './picture.js'

const CELLS = 96 // along each side of the index of points
const STANDARD = { middle: [0, 0], axes: [[1, 0], [0, 1]] }
const QUICK = 7 // milliseconds: points that take no longer are drawn anew in every frame of a movement

// Discs of so many pixels at sixteen places within a pixel, as how much of each pixel they cover.
const cut = new Map()
function stampsOf (side, strength) {
  const name = `${side.toFixed(2)} ${strength.toFixed(2)}`
  if (!cut.has(name)) {
    const radius = side / 2
    const reach = Math.ceil(radius + 0.5)
    const stamps = []
    for (let place = 0; place < 16; place++) {
      const [x, y] = [(place % 4 + 0.5) / 4, ((place >> 2) + 0.5) / 4]
      const stamp = []
      for (let v = -reach; v <= reach; v++) {
        for (let u = -reach; u <= reach; u++) {
          stamp.push(strength * Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(u + 0.5 - x, v + 0.5 - y))))
        }
      }
      stamps.push(Float32Array.from(stamp))
    }
    cut.clear()
    cut.set(name, Object.assign(stamps, { reach }))
  }
  return cut.get(name)
}

const probe = document.createElement('canvas').getContext('2d')
function rgb (colour) {
  probe.fillStyle = '#000'
  probe.fillStyle = colour
  return [1, 3, 5].map(i => parseInt(probe.fillStyle.slice(i, i + 2), 16))
}

export class Scatter {
  // options: label; onMove([x, y]) as the point is dragged or moved by keys; onHover(index or null, x, y) in CSS pixels
  constructor ({ label, colours, onMove, onHover, onView = () => {} }) {
    this.back = h('canvas', { 'aria-hidden': 'true' })
    this.front = h('canvas', { class: 'front', tabIndex: 0, role: 'application', 'aria-label': label })
    this.element = h('div', { class: 'plot' }, this.back, this.front)
    this.cache = document.createElement('canvas')
    Object.assign(this, { colours, onMove, onHover, onView })
    this.at = [0, 0]
    this.count = 0
    this.hidden = new Set()
    this.circles = [] // radii, in standard deviations of the prior
    this.prior = STANDARD // its middle, and its axes at one standard deviation
    this.took = Infinity
    this.marks = []
    this.underlay = null
    this.axes = ['', '']
    this.pointers = new Map()
    this.observer = new ResizeObserver(() => this.resize())
    this.observer.observe(this.element)
    this.listen()
  }

  close () {
    this.observer.disconnect()
    removeEventListener('keydown', this.keyed)
    clearTimeout(this.resting)
    cancelAnimationFrame(this.asked)
  }

  // at: Float32Array of x, y pairs; labels: Int16Array or null
  set (at, labels) {
    this.points = at
    this.labels = labels
    this.count = at.length / 2
    this.shuffle()
    this.index()
    this.fitView()
  }

  // The order in which points are drawn: by great steps through all of them, so that no label lies upon all others.
  shuffle () {
    const n = this.count
    const common = (a, b) => b ? common(b, a % b) : a
    let step = Math.max(1, Math.round(n * 0.618))
    while (common(n, step) > 1) step++
    this.order = new Uint32Array(n)
    for (let i = 0, p = 0; i < n; i++, p = (p + step) % n) this.order[i] = p
  }

  index () {
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity]
    for (let i = 0; i < this.count; i++) {
      const [x, y] = [this.points[2 * i], this.points[2 * i + 1]]
      if (x < x0) x0 = x
      if (x > x1) x1 = x
      if (y < y0) y0 = y
      if (y > y1) y1 = y
    }
    this.extent = [x0, x1, y0, y1]
    this.cell = (x, y) => {
      const i = Math.min(CELLS - 1, Math.max(0, Math.floor((x - x0) / (x1 - x0 || 1) * CELLS)))
      const j = Math.min(CELLS - 1, Math.max(0, Math.floor((y - y0) / (y1 - y0 || 1) * CELLS)))
      return [i, j]
    }
    const heads = new Uint32Array(CELLS * CELLS + 1)
    const cells = new Uint32Array(this.count)
    for (let p = 0; p < this.count; p++) {
      const [i, j] = this.cell(this.points[2 * p], this.points[2 * p + 1])
      cells[p] = j * CELLS + i
      heads[cells[p] + 1]++
    }
    for (let c = 0; c < CELLS * CELLS; c++) heads[c + 1] += heads[c]
    const places = heads.slice()
    this.sorted = new Uint32Array(this.count)
    for (let p = 0; p < this.count; p++) this.sorted[places[cells[p]]++] = p
    this.heads = heads
  }

  // The point nearest to a place on the screen, within so many pixels.
  near (px, py, reach = 9) {
    if (!this.count) return null
    const [a, b] = [this.world(px - reach, py + reach), this.world(px + reach, py - reach)]
    const [i0, j0] = this.cell(...a)
    const [i1, j1] = this.cell(...b)
    let [best, least] = [null, reach * reach]
    for (let j = j0; j <= j1; j++) {
      for (let i = i0; i <= i1; i++) {
        for (let s = this.heads[j * CELLS + i]; s < this.heads[j * CELLS + i + 1]; s++) {
          const p = this.sorted[s]
          if (this.labels && this.hidden.has(this.labels[p])) continue
          const [x, y] = this.screen(this.points[2 * p], this.points[2 * p + 1])
          const square = (x - px) ** 2 + (y - py) ** 2
          if (square < least) [best, least] = [p, square]
        }
      }
    }
    return best
  }

  fitView () {
    const reach = Math.max(0, ...this.circles)
    const { middle, axes } = this.prior
    const [across, up] = [0, 1].map(i => reach * Math.hypot(axes[0][i], axes[1][i]))
    let [x0, x1, y0, y1] = this.count ? this.extent : [-1, 1, -1, 1]
    if (reach) {
      x0 = Math.min(x0, middle[0] - across)
      x1 = Math.max(x1, middle[0] + across)
      y0 = Math.min(y0, middle[1] - up)
      y1 = Math.max(y1, middle[1] + up)
    }
    this.centre = [(x0 + x1) / 2, (y0 + y1) / 2]
    this.whole = [(x1 - x0) || 1, (y1 - y0) || 1]
    this.zoom = 1
    this.resize()
  }

  resize () {
    const box = this.element.getBoundingClientRect()
    if (!box.width || !this.whole) return
    this.width = box.width
    this.height = box.height
    for (const canvas of [this.back, this.front, this.cache]) {
      canvas.width = Math.round(box.width * dense())
      canvas.height = Math.round(box.height * dense())
    }
    this.base = Math.min((box.width - 56) / this.whole[0], (box.height - 56) / this.whole[1])
    this.render()
  }

  get scale () { return this.base * this.zoom }

  screen (x, y) {
    return [this.width / 2 + (x - this.centre[0]) * this.scale, this.height / 2 - (y - this.centre[1]) * this.scale]
  }

  world (px, py) {
    return [this.centre[0] + (px - this.width / 2) / this.scale, this.centre[1] - (py - this.height / 2) / this.scale]
  }

  // ---- drawing
  render () {
    if (!this.width) return
    this.redraw()
    this.compose()
    this.onView()
  }

  redraw () {
    this.stale = false
    this.drawPoints()
    this.drawn = { centre: [...this.centre], scale: this.scale }
  }

  // Points are discs, blended into the bytes of a picture: for many of them that is far cheaper than paths.
  drawPoints () {
    if (!this.count) return
    const begun = performance.now()
    const d = dense()
    const g = this.cache.getContext('2d')
    const [w, h] = [this.cache.width, this.cache.height]
    if (!this.bytes || this.bytes.width !== w || this.bytes.height !== h) this.bytes = g.createImageData(w, h)
    const pixels = this.bytes.data
    pixels.fill(0)
    const colours = this.colours()
    const many = Math.min(1, Math.max(0, Math.log10(this.count / 300) / 2.2)) // from 0, a few hundred, to 1, fifty thousand
    const side = (7 - 4.6 * many) * d * Math.min(2.2, Math.max(0.75, Math.sqrt(this.zoom))) * Math.min(1.7, Math.max(0.75, Math.sqrt(Math.min(this.width, this.height) / 560)))
    const strength = (0.9 - 0.25 * many) * (this.underlay ? 0.85 : 1)
    const stamps = stampsOf(side, strength)
    const reach = stamps.reach
    const wide = 2 * reach + 1
    const inks = [...colours.classes, this.labels ? colours.hair : colours.ink].map(rgb)
    const s = this.scale * d
    const [ox, oy] = [w / 2 - this.centre[0] * s, h / 2 + this.centre[1] * s]
    for (let i = 0; i < this.count; i++) {
      const p = this.order[i]
      const label = this.labels ? this.labels[p] : -1
      if (this.hidden.has(label)) continue
      const x = ox + this.points[2 * p] * s
      const y = oy - this.points[2 * p + 1] * s
      const [left, top] = [Math.floor(x), Math.floor(y)]
      if (!(left > reach && top > reach && left < w - reach - 1 && top < h - reach - 1)) continue
      const [red, green, blue] = inks[label < 0 ? 10 : label % 10]
      const stamp = stamps[((y - top) * 4 | 0) * 4 + ((x - left) * 4 | 0)]
      for (let v = 0, k = 0; v < wide; v++) {
        let at = 4 * ((top + v - reach) * w + left - reach)
        for (let u = 0; u < wide; u++, k++, at += 4) {
          const over = stamp[k]
          if (over === 0) continue
          const under = pixels[at + 3] / 255
          const sum = over + under * (1 - over)
          const share = over / sum
          pixels[at] += (red - pixels[at]) * share
          pixels[at + 1] += (green - pixels[at + 1]) * share
          pixels[at + 2] += (blue - pixels[at + 2]) * share
          pixels[at + 3] = 255 * sum
        }
      }
    }
    g.putImageData(this.bytes, 0, 0)
    this.took = performance.now() - begun
  }

  // The view has moved: few points are drawn anew at once; of many, what is drawn is moved and stretched until it rests.
  moved () {
    clearTimeout(this.resting)
    if (this.took < QUICK) this.stale = true
    else this.resting = setTimeout(() => this.render(), 90)
    this.compose()
  }

  compose () {
    cancelAnimationFrame(this.asked)
    this.asked = requestAnimationFrame(() => {
      if (this.stale) this.redraw()
      this.composeBack()
      this.composeFront()
    })
  }

  composeBack () {
    const d = dense()
    const g = this.back.getContext('2d')
    const colours = this.colours()
    g.setTransform(1, 0, 0, 1, 0, 0)
    g.clearRect(0, 0, this.back.width, this.back.height)
    if (this.underlay) {
      const { canvas, low, high } = this.underlay
      const [x0, y0] = this.screen(low[0], high[1])
      const [x1, y1] = this.screen(high[0], low[1])
      g.imageSmoothingEnabled = (x1 - x0) * d < 3 * canvas.width
      g.imageSmoothingQuality = 'high'
      g.drawImage(canvas, x0 * d, y0 * d, (x1 - x0) * d, (y1 - y0) * d)
    }
    const ratio = this.scale / this.drawn.scale
    const [x, y] = this.screen(...this.drawn.centre)
    g.setTransform(ratio, 0, 0, ratio, (x - this.width / 2 * ratio) * d, (y - this.height / 2 * ratio) * d)
    g.drawImage(this.cache, 0, 0)
    g.setTransform(d, 0, 0, d, 0, 0)
    this.ticks(g, colours)
  }

  ticks (g, colours) {
    g.strokeStyle = colours.hair
    g.fillStyle = colours.quiet
    g.lineWidth = 1 / dense()
    g.font = `${colours.small} system-ui, sans-serif`
    const rough = 90 / this.scale
    const power = 10 ** Math.floor(Math.log10(rough))
    const step = [1, 2, 5, 10].map(k => k * power).find(k => k >= rough)
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9))
    const [x0, y0] = this.world(0, this.height)
    const [x1, y1] = this.world(this.width, 0)
    // words keep a rim of paper, to be read upon the grid and among points
    const write = (words, x, y) => {
      g.save()
      g.strokeStyle = colours.paper
      g.lineWidth = 4
      g.lineJoin = 'round'
      g.strokeText(words, x, y)
      g.restore()
      g.fillText(words, x, y)
    }
    g.textAlign = 'center'
    g.textBaseline = 'bottom'
    g.beginPath()
    for (let v = Math.ceil(x0 / step) * step; v <= x1; v += step) {
      const [x] = this.screen(v, 0)
      if (x < 40 || x > this.width - 30) continue
      g.moveTo(x, this.height - 5)
      g.lineTo(x, this.height)
      write(plain(v, digits), x, this.height - 7)
    }
    g.textAlign = 'left'
    g.textBaseline = 'middle'
    for (let v = Math.ceil(y0 / step) * step; v <= y1; v += step) {
      const [, y] = this.screen(0, v)
      if (y < 30 || y > this.height - 26) continue
      g.moveTo(0, y)
      g.lineTo(5, y)
      write(plain(v, digits), 8, y)
    }
    g.stroke()
    g.textAlign = 'right'
    g.textBaseline = 'bottom'
    write(this.axes[0], this.width - 4, this.height - 22)
    g.textAlign = 'left'
    g.textBaseline = 'top'
    write(this.axes[1], 8, 6)
  }

  composeFront () {
    const d = dense()
    const g = this.front.getContext('2d')
    const colours = this.colours()
    g.setTransform(d, 0, 0, d, 0, 0)
    g.clearRect(0, 0, this.width, this.height)
    const { middle, axes } = this.prior
    const [ox, oy] = this.screen(...middle)
    const [a, b] = axes.map(axis => Math.hypot(...axis) * this.scale)
    const turn = Math.atan2(-axes[0][1], axes[0][0])
    g.strokeStyle = colours.ink
    g.lineWidth = 1
    for (const radius of this.circles) {
      g.beginPath()
      g.ellipse(ox, oy, radius * a, radius * b, turn, 0, 6.2832)
      // a rim of paper, to be seen upon points and pictures
      g.save()
      g.strokeStyle = colours.paper
      g.lineWidth = 3
      g.globalAlpha = 0.7
      g.stroke()
      g.restore()
      g.setLineDash([4, 4])
      g.stroke()
      g.setLineDash([])
    }
    g.font = `${colours.small} system-ui, sans-serif`
    g.textAlign = 'center'
    g.textBaseline = 'middle'
    const tall = Math.hypot(axes[0][1], axes[1][1]) || 1
    const lean = (axes[0][0] * axes[0][1] + axes[1][0] * axes[1][1]) / tall // the topmost place of an ellipse
    for (const radius of this.circles) {
      const [lx, ly] = [ox + radius * lean * this.scale, oy - radius * tall * this.scale]
      g.strokeStyle = colours.paper
      g.lineWidth = 5
      g.lineJoin = 'round'
      g.strokeText(`${radius}σ`, lx, ly)
      g.fillStyle = colours.ink
      g.fillText(`${radius}σ`, lx, ly)
    }
    if (this.circles.length) {
      g.strokeStyle = colours.ink
      g.lineWidth = 1
      g.beginPath()
      g.moveTo(ox - 4, oy)
      g.lineTo(ox + 4, oy)
      g.moveTo(ox, oy - 4)
      g.lineTo(ox, oy + 4)
      g.stroke()
    }
    const [x, y] = this.screen(...this.at)
    for (const p of this.marks) {
      if (p === null || p === undefined || !this.count) continue
      const [mx, my] = this.screen(this.points[2 * p], this.points[2 * p + 1])
      g.strokeStyle = colours.quiet
      g.beginPath()
      g.moveTo(x, y)
      g.lineTo(mx, my)
      g.stroke()
      g.beginPath()
      g.arc(mx, my, 5, 0, 6.2832)
      g.fillStyle = colours.paper
      g.fill()
      g.strokeStyle = colours.ink
      g.stroke()
    }
    g.beginPath()
    g.arc(x, y, 8, 0, 6.2832)
    g.fillStyle = colours.accent
    g.fill()
    g.lineWidth = 2
    g.strokeStyle = colours.paper
    g.stroke()
    g.beginPath()
    g.arc(x, y, 9.5, 0, 6.2832)
    g.lineWidth = 1
    g.strokeStyle = colours.accent
    g.stroke()
  }

  // ---- hands
  place (at) {
    this.at = at
    this.compose()
    this.onMove(at)
  }

  zoomAt (factor, px = this.width / 2, py = this.height / 2) {
    const before = this.world(px, py)
    this.zoom = Math.min(400, Math.max(0.2, this.zoom * factor))
    const after = this.world(px, py)
    this.centre = [this.centre[0] + before[0] - after[0], this.centre[1] + before[1] - after[1]]
    this.moved()
  }

  pan (dx, dy) {
    this.centre = [this.centre[0] - dx / this.scale, this.centre[1] + dy / this.scale]
    this.moved()
  }

  whereOf (event) {
    const box = this.front.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  listen () {
    const front = this.front
    front.addEventListener('pointerdown', event => {
      front.setPointerCapture(event.pointerId)
      front.focus({ preventScroll: true })
      this.pointers.set(event.pointerId, this.whereOf(event))
      this.panning = event.button === 1 || event.button === 2 || event.shiftKey || this.pointers.size > 1
      this.onHover(null)
      if (!this.panning) this.place(this.world(...this.whereOf(event)))
    })
    front.addEventListener('pointermove', event => {
      const now = this.whereOf(event)
      const before = this.pointers.get(event.pointerId)
      if (!before) {
        this.onHover(this.near(...now), ...now)
        return
      }
      if (this.pointers.size > 1) { // two fingers move and stretch the map
        const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1]
        const spread = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1
        this.zoomAt(spread(now) / spread(before), ...other)
        this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2)
      } else if (this.panning) this.pan(now[0] - before[0], now[1] - before[1])
      else this.place(this.world(...now))
      this.pointers.set(event.pointerId, now)
    })
    const up = event => this.pointers.delete(event.pointerId)
    front.addEventListener('pointerup', up)
    front.addEventListener('pointercancel', up)
    front.addEventListener('pointerleave', () => this.onHover(null))
    front.addEventListener('contextmenu', event => event.preventDefault())
    front.addEventListener('wheel', event => {
      event.preventDefault()
      this.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...this.whereOf(event))
    }, { passive: false })
    // arrows move the point wherever the focus is, unless it is on something that they move
    this.keyed = event => {
      if (event.ctrlKey || event.metaKey || event.altKey || (event.target !== front && event.target !== document.body)) return
      const step = (event.shiftKey ? 2 : 14) / this.scale
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key]
      if (way) this.place([this.at[0] + way[0] * step, this.at[1] + way[1] * step])
      else if (event.key === '+' || event.key === '=') this.zoomAt(1.25)
      else if (event.key === '-' || event.key === '_') this.zoomAt(0.8)
      else if (event.key === '0') this.fitView()
      else return
      event.preventDefault()
    }
    addEventListener('keydown', this.keyed)
  }

  // The whole picture as one canvas, for saving.
  picture () {
    const canvas = document.createElement('canvas')
    canvas.width = this.back.width
    canvas.height = this.back.height
    const g = canvas.getContext('2d')
    g.fillStyle = this.colours().paper
    g.fillRect(0, 0, canvas.width, canvas.height)
    g.drawImage(this.back, 0, 0)
    g.drawImage(this.front, 0, 0)
    return canvas
  }
}
