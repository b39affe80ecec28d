// One example and many: images pixel by pixel at whole-number scales, tables as rows, signals as lines, vectors as bars.
import { clear, h, plain } from './controls.js'

export const dense = () => Math.max(1, window.devicePixelRatio || 1)

// The rgba bytes of picture i of an array (N, H, W) or (N, H, W, 3).
export function pixels (array, i) {
  const [, height, width] = array.shape
  const channels = array.shape[3] || 1
  const size = height * width
  const rgba = new Uint8ClampedArray(4 * size)
  const from = array.data.subarray(i * size * channels, (i + 1) * size * channels)
  for (let p = 0; p < size; p++) {
    rgba[4 * p] = from[channels * p]
    rgba[4 * p + 1] = channels > 1 ? from[channels * p + 1] : from[p]
    rgba[4 * p + 2] = channels > 1 ? from[channels * p + 2] : from[p]
    rgba[4 * p + 3] = 255
  }
  return new ImageData(rgba, width, height)
}

export const isImage = array => array.shape.length > 2

// The greatest whole-number scale at which a picture fits; large pictures are made smaller.
export function fit (side, room) {
  return side <= room ? Math.max(1, Math.floor(room / side)) : room / side
}

// A place for one example: element, and draw(array, i). Its size is given by `room`, in CSS pixels.
export function picture (run, colours, { room = 280, label = 'picture' } = {}) {
  if (run.x === 'image') return image(room, label)
  if (run.x === 'table') return table(run)
  return line(run, colours, room, label)
}

// An empty sheet where a picture will be, of its size.
export function blank (run, place) {
  if (run.x !== 'image') return
  const [channels, height, width] = run.reading.shape
  place.draw({ data: new Uint8Array(height * width * (channels > 1 ? 3 : 1)).fill(128), shape: [1, height, width, ...(channels > 1 ? [3] : [])] })
  const g = place.canvas.getContext('2d')
  g.clearRect(0, 0, width, height)
  place.canvas.classList.add('blank')
}

function image (room, label) {
  const canvas = h('canvas', { class: 'pixels', role: 'img', 'aria-label': label })
  canvas.width = canvas.height = 1
  const place = {
    element: canvas,
    canvas,
    room,
    draw (array, i = 0) {
      const [, height, width] = array.shape
      if (canvas.width !== width || canvas.height !== height || place.sized !== place.room) {
        canvas.width = width
        canvas.height = height
        const scale = fit(Math.max(width, height), place.room)
        canvas.style.width = `${width * scale}px`
        canvas.style.height = `${height * scale}px`
        place.sized = place.room
      }
      canvas.classList.remove('blank')
      canvas.getContext('2d').putImageData(pixels(array, i), 0, 0)
    }
  }
  return place
}

function table (run) {
  const names = run.reading.columns
  const body = h('tbody')
  const cells = names.map(name => {
    const cell = h('td')
    body.append(h('tr', {}, h('th', { scope: 'row' }, name), cell))
    return cell
  })
  const element = h('div', { class: 'scroll', tabIndex: 0, 'aria-label': 'values' }, h('table', { class: 'row-table' }, body))
  return {
    element,
    canvas: null,
    draw (array, i = 0) {
      const width = array.shape[1]
      cells.forEach((cell, j) => { cell.textContent = cellOf(run, j, array.data[i * width + j]) })
    }
  }
}

// What a cell of a table says: the name of a category, or a number.
function cellOf (run, column, number) {
  const field = run.reading.fields?.[column]
  if (field?.categories.length && Number.isFinite(number)) return field.categories[Math.round(number)] ?? value(number)
  return Number.isFinite(number) ? value(number) : 'missing'
}

export function value (number) {
  return Number.isInteger(number) ? String(number).replace('-', '−') : plain(number, Math.abs(number) >= 100 ? 1 : 3)
}

function line (run, colours, room, label) {
  const canvas = h('canvas', { role: 'img', 'aria-label': label })
  const limits = { low: Infinity, high: -Infinity }
  const place = {
    element: canvas,
    canvas,
    room,
    draw (array, i = 0) {
      const length = array.shape[1]
      const values = array.data.subarray(i * length, (i + 1) * length)
      const [width, height] = [place.room, Math.round(place.room * 0.55)]
      curve(canvas, [values], { width, height, colours: colours(), bars: run.x === 'vector', limits, axis: width > 150 })
    }
  }
  return place
}

// Rows of numbers as lines (or bars) on a canvas; limits only ever grow, so that a moving line does not move its axis.
export function curve (canvas, rows, { width, height, colours, bars = false, limits, axis = false, x = 0, y = 0, fresh = true }) {
  const d = dense()
  if (fresh) {
    canvas.width = width * d
    canvas.height = height * d
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
  }
  const g = canvas.getContext('2d')
  g.setTransform(d, 0, 0, d, x * d, y * d)
  for (const row of rows) {
    for (const v of row) {
      if (v < limits.low) limits.low = v
      if (v > limits.high) limits.high = v
    }
  }
  const left = axis ? 44 : 1
  const bottom = axis ? height - 18 : height - 1
  const low = bars ? Math.min(0, limits.low) : limits.low
  const span = limits.high - low || 1
  const up = v => bottom - (v - low) / span * (bottom - 6)
  const n = rows[0].length
  const across = j => left + (bars ? (j + 0.5) / n : n > 1 ? j / (n - 1) : 0.5) * (width - left - 4)
  if (axis) {
    g.fillStyle = colours.quiet
    g.font = `${colours.small} system-ui, sans-serif`
    g.textAlign = 'right'
    g.textBaseline = 'middle'
    g.fillText(value(low), left - 6, bottom - 4)
    g.fillText(value(limits.high), left - 6, 10)
    g.textBaseline = 'top'
    g.textAlign = 'left'
    g.fillText('0', left, bottom + 3)
    g.textAlign = 'right'
    g.fillText(String(n - 1), width - 4, bottom + 3)
    g.strokeStyle = colours.hair
    g.lineWidth = 1
    g.beginPath()
    g.moveTo(left - 0.5, 4)
    g.lineTo(left - 0.5, Math.round(bottom) + 0.5)
    g.lineTo(width, Math.round(bottom) + 0.5)
    g.stroke()
  }
  rows.forEach(row => {
    g.strokeStyle = g.fillStyle = colours.ink
    g.lineWidth = axis ? 1.5 : 1
    if (bars) {
      const w = Math.max(1, (width - left - 4) / n - 2)
      row.forEach((v, j) => g.fillRect(across(j) - w / 2, Math.min(up(v), up(0)), w, Math.max(1, Math.abs(up(v) - up(0)))))
      return
    }
    g.beginPath()
    row.forEach((v, j) => j ? g.lineTo(across(j), up(v)) : g.moveTo(across(j), up(v)))
    g.stroke()
  })
}

// Many examples side by side: a canvas for images and lines, a table for tables. cell(event) says which was pointed at.
export function sheet (run, colours, label = 'pictures') {
  const canvas = h('canvas', { class: 'sheet', role: 'img', 'aria-label': label })
  const element = h('div', {}, canvas)
  let layout = { columns: 1, width: 1, height: 1, gap: 0, n: 0 }
  return {
    element,
    canvas,
    get layout () { return layout },
    // columns: how many in a row; room: CSS pixels across; least: the smallest side of one
    // exact: so many columns, however narrow
    draw (array, { columns, room, least = 28, gap = 2, names = null, most = 4, exact = false }) {
      const n = array.shape[0]
      if (run.x === 'table') {
        clear(element).append(rows(run, array, names))
        return
      }
      const d = dense()
      if (!isImage(array)) {
        columns = Math.max(1, Math.min(columns || 6, exact ? n : Math.floor(room / 110), n))
        const width = Math.floor((room - gap * 4 * (columns - 1)) / columns)
        const height = Math.round(width * 0.5)
        const down = Math.ceil(n / columns)
        layout = { columns, width: width + gap * 4, height: height + gap * 4, n }
        canvas.width = room * d
        canvas.height = down * layout.height * d
        canvas.style.width = `${room}px`
        canvas.style.height = `${down * layout.height}px`
        const limits = { low: Infinity, high: -Infinity }
        for (const v of array.data) { limits.low = Math.min(limits.low, v); limits.high = Math.max(limits.high, v) }
        for (let i = 0; i < n; i++) {
          const row = array.data.subarray(i * array.shape[1], (i + 1) * array.shape[1])
          curve(canvas, [row], { width, height, colours: colours(), bars: run.x === 'vector', limits, fresh: false, x: (i % columns) * layout.width, y: Math.floor(i / columns) * layout.height })
        }
        return
      }
      const [, h0, w0] = array.shape
      if (!columns) {
        // rows of one length, where that costs little room
        const many = Math.max(1, Math.floor((room + gap) / (Math.max(least, w0) + gap)))
        columns = many
        while (n % columns && columns > 0.6 * many) columns--
        if (n % columns) columns = many
      }
      columns = Math.min(columns, n)
      // device pixels throughout: every pixel of a picture is a whole square of the screen
      const wide = (room * d - gap * d * (columns - 1)) / columns
      const scale = w0 <= wide ? Math.max(1, Math.min(Math.floor(wide / w0), Math.max(1, Math.round(most * d * 28 / w0)))) : wide / w0
      const [width, height] = [Math.round(w0 * scale), Math.round(h0 * scale)]
      const g = Math.round(gap * d)
      const down = Math.ceil(n / columns)
      canvas.width = columns * (width + g) - g
      canvas.height = down * (height + g) - g
      canvas.style.width = `${canvas.width / d}px`
      canvas.style.height = `${canvas.height / d}px`
      layout = { columns, width: (width + g) / d, height: (height + g) / d, n }
      paint(canvas, array, { columns, width, height, gap: g })
    },
    cell (event) {
      const box = canvas.getBoundingClientRect()
      const i = Math.floor((event.clientX - box.left) / layout.width) + layout.columns * Math.floor((event.clientY - box.top) / layout.height)
      return i >= 0 && i < layout.n ? i : null
    }
  }
}

const spare = document.createElement('canvas')

export function paint (canvas, array, { columns, width, height, gap = 0 }) {
  const g = canvas.getContext('2d')
  const [n, h0, w0] = array.shape
  spare.width = w0
  spare.height = h0
  g.imageSmoothingEnabled = width < w0
  for (let i = 0; i < n; i++) {
    spare.getContext('2d').putImageData(pixels(array, i), 0, 0)
    const scale = Math.min(width / w0, height / h0) // in a cell of another shape a picture stands in the middle
    const [w, t] = [w0 * scale, h0 * scale]
    g.drawImage(spare, (i % columns) * (width + gap) + (width - w) / 2, Math.floor(i / columns) * (height + gap) + (height - t) / 2, w, t)
  }
}

function rows (run, array, names) {
  const [n, width] = array.shape
  const head = h('tr', {}, h('th', {}, ''), run.reading.columns.map(name => h('th', { scope: 'col' }, name)))
  const body = []
  for (let i = 0; i < n; i++) {
    const cells = Array.from(array.data.subarray(i * width, (i + 1) * width), (v, j) => h('td', {}, cellOf(run, j, v)))
    body.push(h('tr', {}, h('td', {}, names ? names[i] : String(i)), cells))
  }
  return h('div', { class: 'scroll', tabIndex: 0, 'aria-label': 'rows' },
    h('table', { class: 'row-table' }, h('thead', {}, head), h('tbody', {}, body)))
}
