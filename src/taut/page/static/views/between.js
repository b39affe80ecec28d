// Between two: examples, drawings or dropped pictures, and the way from the code of one to that of the other.
import { button, clear, h, plain, select, slider } from '../parts/controls.js'
import { conditions } from '../parts/conditions.js'
import { picture, sheet } from '../parts/picture.js'

export const name = 'between'
export const title = 'Between'

const LARGEST = 4_000_000 // bytes of a dropped picture

export function unavailable (run) {
  if (!run.finished) return 'The training is not finished, so there is no model yet; see Training.'
  if (!run.layers.length) return 'This model has no latents, so there is no way between two codes; see Samples.'
  return null
}

export async function mount (root, ctx) {
  const { run, state, colours } = ctx
  const head = h('p', { class: 'quiet' }, 'The model is being loaded …')
  root.append(h('h1', {}, 'From one to another'), head)
  const model = await ctx.ask('model')
  const drawable = run.x === 'image' && [1, 3].includes(run.reading.shape[0])
  const ends = { a: null, b: null }
  let path = state.get('path', 'linear')
  let t = Math.min(1, Math.max(0, state.get('t', 0.5)))
  // as many as fit in one row at a whole-number scale
  const [tall, broad] = run.x === 'image' ? run.reading.shape.slice(1) : [0, 0]
  const fitting = Math.floor(Math.max(200, root.clientWidth - 48) / (broad * Math.max(1, Math.round(56 / Math.max(tall, broad, 1))) + 2))
  const steps = run.x === 'image' && root.clientWidth >= 600 ? Math.min(31, Math.max(9, fitting)) : 21
  let way = null
  let chosen = state.get('told', '') !== '' // until a condition is chosen, the way is told what its first end was
  const told = conditions(run, state, () => { chosen = true; go() })

  const large = picture(run, colours, { room: 280, label: 'on the way' })
  const strip = sheet(run, colours, 'the way from one to the other')
  const words = h('p', { class: 'quiet' })
  const along = slider('along', { low: 0, high: 1, step: 0.01, value: t, act: value => { t = Math.min(1, Math.max(0, value)); state.set('t', t); at() } })

  function at () {
    if (!way) return
    const i = Math.round(t * (way.arrays.x.shape[0] - 1))
    large.draw(way.arrays.x, i)
    root.dataset.shown = String(Number(root.dataset.shown || 0) + 1)
    const norm = model.layers[0].standard ? ` Its code is ${plain(way.distance[i])} σ from the prior's centre; the ends are at ${plain(way.distance[0])} and ${plain(way.distance[way.distance.length - 1])}.` : ''
    words.textContent = `Step ${i + 1} of ${way.arrays.x.shape[0]}.${norm}`
  }

  let frame = 0
  async function go () {
    if (!ends.a || !ends.b) return
    const found = await ctx.ask('between', { a: Array.from(ends.a), b: Array.from(ends.b), steps, path, ...told.fields() }, 'between')
    cancelAnimationFrame(frame)
    frame = requestAnimationFrame(() => { way = found; lay(); at() })
  }

  function lay () {
    if (!way) return
    const room = Math.max(200, root.clientWidth - 48)
    const columns = run.x === 'image' ? (room < 552 ? 7 : steps) : null
    strip.draw(way.arrays.x, { columns, room, gap: 2, most: 4, names: Array.from({ length: steps }, (_, i) => plain(i / (steps - 1))) })
  }

  // ---- one end: where it comes from, as it is, and as the model gives it back
  function end (which, first) {
    const self = picture(run, colours, { room: 112, label: 'as it is' })
    const again = picture(run, colours, { room: 112, label: 'as the model gives it back' })
    const source = h('div')
    const said = h('span', { class: 'small' })
    const picks = sheet(run, colours, 'examples to choose from')
    let listed = []
    const take = (x, z, back, sentence) => {
      self.draw(x)
      if (back) again.draw(back)
      ends[which] = z
      said.textContent = sentence
      go()
    }
    const number = h('input', { type: 'number', min: 0, value: first, 'aria-label': `test example of the ${which === 'a' ? 'first' : 'second'} end`, onchange: () => example(Math.max(0, Math.round(Number(number.value)) || 0)) })
    async function example (index) {
      number.value = index
      state.set(which, index)
      const found = await ctx.ask('examples', { index: [index], codes: true }, `end-${which}`)
      const z = found.arrays.z.data
      const own = found.conditions ? { condition: found.conditions[0] } : {}
      const back = await ctx.ask('decode', { z: Array.from(z), ...own }, `again-${which}`)
      if (which === 'a' && own.condition && !chosen) told.set(own.condition)
      const label = found.arrays.labels && found.labels ? found.labels[found.arrays.labels.data[0]] : null
      take(found.arrays.x, z, back.arrays.x, label ? `${label}, test example ${index}` : `test example ${index}`)
      return found
    }
    async function read (blob, sentence) {
      if (blob.size > LARGEST) { ctx.note(`The picture is larger than ${LARGEST / 1e6} MB.`); return }
      const bytes = new Uint8Array(await blob.arrayBuffer())
      let raw = ''
      for (let i = 0; i < bytes.length; i += 32768) raw += String.fromCharCode(...bytes.subarray(i, i + 32768))
      const found = await ctx.ask('read', { file: btoa(raw), ...told.fields() }, `end-${which}`)
      state.set(which, null)
      take(found.arrays.x, found.arrays.z.data, found.arrays.again, sentence)
    }
    const bar = h('div', { class: 'bar' }, h('span', { class: 'field' }, h('span', { class: 'small' }, 'test example'), number),
      button('Others', () => list()))
    async function list () {
      const of = (await ctx.ask('examples', { index: [0] }, `of-${which}`)).of
      listed = Array.from({ length: Math.min(16, of) }, () => Math.floor(Math.random() * of))
      const found = await ctx.ask('examples', { index: listed }, `list-${which}`)
      const columns = run.x === 'image' ? 8 : null
      picks.draw(found.arrays.x, { columns, room: Math.min(420, box.clientWidth || 300), gap: 2, most: 1.7, names: listed.map(String) })
      picks.element.hidden = false
    }
    picks.canvas.className += ' picks'
    picks.canvas.addEventListener('click', event => {
      const i = picks.cell(event)
      if (i !== null) example(listed[i])
    })
    const extra = []
    if (drawable) {
      const file = h('input', { type: 'file', accept: 'image/*', hidden: true, onchange: () => { if (file.files[0]) read(file.files[0], 'your picture') } })
      bar.append(button('Draw', () => { pad.element.hidden = !pad.element.hidden }), button('Open a picture', () => file.click()), file)
      const pad = drawing(run, blob => read(blob, 'your drawing'))
      pad.element.hidden = true
      extra.push(pad.element)
    }
    const box = h('section', { class: 'end-choice', 'aria-label': which === 'a' ? 'from' : 'to' },
      h('h2', {}, which === 'a' ? 'From' : 'To'), bar,
      h('div', { class: 'chosen' },
        h('figure', {}, self.element, h('figcaption', { class: 'small' }, said)),
        h('figure', {}, again.element, h('figcaption', { class: 'small' }, 'as the model gives it back'))),
      ...extra, picks.element, source)
    picks.element.hidden = true
    if (drawable) {
      box.addEventListener('dragover', event => { event.preventDefault(); box.classList.add('over') })
      box.addEventListener('dragleave', () => box.classList.remove('over'))
      box.addEventListener('drop', event => {
        event.preventDefault()
        box.classList.remove('over')
        if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0], 'your picture')
      })
    }
    return { element: box, example, list }
  }

  const [from, to] = [end('a', state.get('a', 0)), end('b', state.get('b', 1))]
  const bar = h('div', { class: 'bar' }, select('path', [['linear', 'straight'], ['spherical', 'along the great circle']], path, value => {
    path = value
    state.set('path', path === 'linear' ? null : path)
    go()
  }), h('span', { class: 'end' }, strip.canvas && run.x !== 'table' ? button('Save PNG', () => ctx.save(strip.canvas, `${run.name.replace(/\W+/g, '-')}-between.png`)) : ''))
  const middle = h('section', { class: 'middle', 'aria-label': 'on the way' }, large.element, along, words)
  root.append(bar, ...(told.element ? [told.element] : []), h('div', { class: 'strip' }, strip.element), h('div', { class: 'ends' }, from.element, middle, to.element))
  strip.canvas.addEventListener('click', event => {
    const i = strip.cell(event)
    if (i !== null) { t = i / (steps - 1); along.set(t); state.set('t', t); at() }
  })
  head.textContent = `The codes between two ${model.centre}s, decoded.${drawable ? ' Choose examples, draw, or drop a picture on either side.' : ''}${told.known.length ? ` All the way the model is told one ${told.names}: change it, and the codes stay.` : ''}`
  along.range.addEventListener('keydown', event => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key]
    if (!step) return
    event.preventDefault()
    t = Math.min(1, Math.max(0, t + step * (event.shiftKey ? 0.01 : 0.05)))
    along.set(t)
    state.set('t', t)
    at()
  })
  addEventListener('resize', lay)
  ctx.onTheme(() => { lay(); at() })
  const first = await from.example(state.get('a', 0))
  await to.example(Math.min(state.get('b', 1), first.of - 1))
  from.list()
  to.list()
  return () => {
    removeEventListener('resize', lay)
    cancelAnimationFrame(frame)
  }
}

// A small sheet to draw on, white on black as handwritten sets are; what is drawn is given as a PNG.
function drawing (run, give) {
  const side = 168
  const canvas = h('canvas', { class: 'draw', width: side * 2, height: side * 2, 'aria-label': 'draw here', role: 'img' })
  canvas.style.width = canvas.style.height = `${side}px`
  const g = canvas.getContext('2d')
  const wipe = () => { g.fillStyle = '#000'; g.fillRect(0, 0, canvas.width, canvas.height) }
  wipe()
  let last = null
  let waiting = null
  const place = event => {
    const box = canvas.getBoundingClientRect()
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height]
  }
  const stroke = event => {
    const now = place(event)
    g.strokeStyle = '#fff'
    g.lineWidth = canvas.width / 11
    g.lineCap = g.lineJoin = 'round'
    g.beginPath()
    g.moveTo(...last)
    g.lineTo(...now)
    g.stroke()
    last = now
    if (!waiting) waiting = setTimeout(() => { waiting = null; canvas.toBlob(give, 'image/png') }, 60)
  }
  canvas.addEventListener('pointerdown', event => {
    canvas.setPointerCapture(event.pointerId)
    last = place(event)
    stroke(event)
  })
  canvas.addEventListener('pointermove', event => { if (last) stroke(event) })
  for (const kind of ['pointerup', 'pointercancel']) canvas.addEventListener(kind, () => { last = null })
  return { element: h('div', { class: 'chosen' }, canvas, button('Clear', wipe)) }
}
