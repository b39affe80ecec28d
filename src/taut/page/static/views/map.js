// The map: the test examples where the encoder puts them; any place can be touched, and the decoder answers.
import { button, clear, h, plain, select, toggle } from '../parts/controls.js'
import { conditions } from '../parts/conditions.js'
import { blank, isImage, paint, picture } from '../parts/picture.js'
import { Scatter } from '../parts/scatter.js'

export const name = 'map'
export const title = 'Map'

export function unavailable (run) {
  if (!run.finished) return 'The training is not finished, so there is no model yet; see Training.'
  if (!run.layers.length) return 'This model has no latents, so there is no map of them; see Samples.'
  return null
}

export async function mount (root, ctx) {
  const { run, state, colours } = ctx
  const head = h('p', { class: 'quiet' }, 'The model is being loaded …')
  root.append(h('h1', {}, 'Where the examples lie'), head)
  let model = null

  const spec = () => {
    const plane = state.get('plane', 'auto')
    const dims = /^\d+,\d+$/.test(plane) ? plane.split(',').map(Number) : []
    return { plane: dims.length || plane !== 'principal' ? 'auto' : 'principal', dims, layer: Math.min(state.get('layer', 0), run.layers.length - 1) }
  }
  // the map that was kept the last time needs no model
  let map = await ctx.ask('kept', spec()).catch(() => null)
  const loading = ctx.ask('model')
  loading.catch(() => {}) // told below, where it is waited for
  if (!map || !map.kept) {
    map = null
    model = await loading
    try {
      map = await ctx.ask('map', spec())
    } catch (error) { // an address may ask for what this model has not
      state.set('plane', null)
      map = await ctx.ask('map', spec())
    }
  }

  const large = picture(run, colours, { room: 320, label: 'what the decoder makes of the point' })
  const small = picture(run, colours, { room: run.x === 'image' ? 72 : 150, label: 'the nearest example' })
  const peek = picture(run, colours, { room: 84, label: 'example' })
  const hover = h('div', { class: 'hover', hidden: true })
  const facts = h('dl', { class: 'facts' })
  const nearest = h('div', { class: 'small' })
  const legend = h('ul', { class: 'legend' })
  const seen = new Map()
  const told = conditions(run, state, tellAnew)

  let hovered = null
  async function onHover (index, x, y) {
    hovered = index
    hover.hidden = index === null || !model
    if (index === null || !model) return
    hover.style.left = x > scatter.width - 190 ? `${x - 112}px` : `${x + 16}px`
    hover.style.top = `${Math.min(y + 12, scatter.height - 130)}px`
    const found = await example(index)
    if (hovered !== index) return
    peek.draw(found.arrays.x)
    clear(hover).append(peek.element, named(index, found))
  }

  function named (index, found) {
    const label = found.arrays.labels && found.labels ? found.labels[found.arrays.labels.data[0]] : null
    return label === null || label === undefined ? `example ${index.toLocaleString('en')}` : `${label} · example ${index.toLocaleString('en')}`
  }

  async function example (index) {
    if (!seen.has(index)) seen.set(index, await ctx.ask('examples', { index: [index] }, 'hover'))
    return seen.get(index)
  }

  let frame = 0
  async function onMove (exact) {
    const at = exact.map(v => Number(v.toPrecision(4))) // what the address says is what is shown
    state.set('at', at.join(','))
    if (!model) return
    root.dataset.asked = at.join(',')
    const found = await ctx.ask('look', { at, ...spec(), ...told.fields() }, 'look')
    cancelAnimationFrame(frame)
    frame = requestAnimationFrame(() => show(found, at))
  }

  async function show (found, at) {
    large.draw(found.arrays.x)
    scatter.marks = [found.nearest]
    scatter.composeFront()
    root.dataset.shown = at.join(',')
    clear(facts).append(
      h('dt', {}, map.axes[0].length > 8 ? 'the place' : map.axes.filter(Boolean).join(', ')), h('dd', {}, map.axes[1] ? at.map(v => plain(v)).join(', ') : plain(at[0])),
      ...(map.standard ? [h('dt', {}, "from the prior's centre"), h('dd', {}, `${plain(found.distance)} σ`)] : []),
      h('dt', {}, 'to the nearest example'), h('dd', {}, plain(found.gap)))
    const near = await ctx.ask('examples', { index: [found.nearest] }, 'nearest')
    small.draw(near.arrays.x)
    clear(nearest).append('the nearest example', h('br'), named(found.nearest, near))
  }

  const scatter = new Scatter({
    label: 'Map of codes: arrow keys move the point, with Shift finely; plus and minus zoom', colours, onMove, onHover
  })

  // ---- the decoded grid, laid under
  async function lay (on) {
    state.set('grid', on || null)
    if (!model) return
    if (!on) {
      scatter.underlay = null
      scatter.render()
      return
    }
    const size = 20
    const [a, b] = [scatter.world(0, scatter.height), scatter.world(scatter.width, 0)]
    const side = Math.max(b[0] - a[0], b[1] - a[1])
    const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]
    const half = side / 2 * (1 - 1 / size)
    const low = middle.map(v => v - half)
    const high = middle.map(v => v + half)
    const found = await ctx.ask('grid', { low, high, size, ...spec(), ...told.fields() }, 'grid')
    if (!state.get('grid', false) || !isImage(found.arrays.x)) return
    const [, height, width] = found.arrays.x.shape
    const cell = Math.max(height, width)
    const canvas = document.createElement('canvas')
    canvas.width = canvas.height = size * cell
    paint(canvas, found.arrays.x, { columns: size, width: cell, height: cell })
    scatter.underlay = { canvas, low: middle.map(v => v - side / 2), high: middle.map(v => v + side / 2) }
    scatter.render()
  }

  // what the model is told has changed: z stays, and the decoder and the prior answer
  function tellAnew () {
    onMove(scatter.at)
    if (state.get('grid', false)) lay(true)
    encircle()
  }

  async function encircle () {
    if (map.standard) { tell(true); return }
    const found = await ctx.ask('prior', { ...spec(), ...told.fields() }, 'prior')
    const first = !scatter.circles.length
    scatter.circles = found.normal ? [1, 2] : []
    if (found.normal) scatter.prior = found
    if (first && scatter.zoom === 1) scatter.fitView()
    else scatter.composeFront()
    tell(found.normal)
  }

  function tell (normal) {
    const given = told.known.length ? ` given ${told.words()}` : ''
    const prior = map.standard ? 'Dashed: the prior N(0, I) at one and two standard deviations.'
      : normal ? `Dashed: the prior${given} at one and two standard deviations.`
        : model ? `The prior is ${map.prior}${run.layers.length > 1 && spec().layer ? ', moved by the layer above' : ''}, so it has no circles here.` : ''
    const which = map.n < map.of ? `the first ${map.n.toLocaleString('en')} of ${map.of.toLocaleString('en')}` : map.n.toLocaleString('en')
    const layer = map.layers > 1 ? ` of layer ${spec().layer + 1} of ${map.layers}; layers above are at their mean, those below where they are expected` : ''
    const labels = !map.labels ? ' These data have no labels: one colour.' : map.by === 'label' ? '' : ` Coloured by ${map.by}.`
    const end = model ? 'Drag anywhere.' : 'The model is being loaded …'
    head.textContent = `${which} test examples at their ${map.centre}, in ${map.description}${layer}. ${prior}${labels} ${end}`
  }

  function legends () {
    clear(legend)
    if (!map.labels) return
    const present = new Set(map.arrays.labels.data)
    map.labels.slice(0, 60).forEach((words, i) => {
      if (!present.has(i)) return
      const swatch = h('span', { class: 'swatch' })
      swatch.style.background = colours().classes[i % 10]
      const item = toggle('', !scatter.hidden.has(i), on => {
        if (on) scatter.hidden.delete(i)
        else scatter.hidden.add(i)
        scatter.render()
      }, { 'aria-label': `show ${words}` })
      item.append(swatch, words)
      legend.append(h('li', {}, item))
    })
    if (map.labels.length > 10) legend.append(h('li', { class: 'small' }, 'More than ten labels: colours repeat.'))
  }

  function arrange () {
    scatter.circles = map.standard ? [1, 2] : []
    scatter.axes = map.axes
    scatter.set(map.arrays.at.data, map.labels ? map.arrays.labels.data : null)
    tell(false)
    legends()
    root.dataset.points = String(map.n)
  }

  async function replane () {
    map = await ctx.ask('map', spec())
    scatter.hidden.clear()
    arrange()
    encircle()
    if (state.get('grid', false)) lay(true)
    scatter.place([0, 0])
  }

  const bar = h('div', { class: 'bar' })
  const planes = h('span', { class: 'field' })
  // which plane and layer can be chosen is known with the model
  function choices () {
    const { size, start } = model.layers[spec().layer]
    clear(planes)
    if (size > 2) {
      const kl = model.kl
      const order = Array.from({ length: size }, (_, i) => i)
      if (kl && kl.length === model.latents) order.sort((a, b) => kl[start + b] - kl[start + a])
      const two = []
      for (const [i, j] of [[0, 1], [0, 2], [1, 2], [2, 3], [4, 5], [6, 7]]) if (j < size) two.push([order[i], order[j]])
      planes.append(select('plane', [['auto', 'of most rate'], ['principal', 'principal axes'], ...two.map(([i, j]) => [`${i},${j}`, `z${i}, z${j}`])], state.get('plane', 'auto'), value => {
        state.set('plane', value === 'auto' ? null : value)
        replane()
      }))
    }
    if (model.layers.length > 1) {
      planes.append(select('layer', model.layers.map((layer, i) => [i, `${i + 1} of ${model.layers.length} (${layer.size} latents)`]), spec().layer, value => {
        state.set('layer', Number(value) || null)
        state.set('plane', null)
        choices()
        replane()
      }))
    }
  }
  bar.append(planes)
  if (run.x === 'image') bar.append(toggle('Decoded grid', state.get('grid', false), lay))
  bar.append(
    h('span', { class: 'end field' },
      button('−', () => scatter.zoomAt(0.8), { 'aria-label': 'farther', class: 'wide' }), button('+', () => scatter.zoomAt(1.25), { 'aria-label': 'nearer', class: 'wide' }),
      button('All', () => scatter.fitView()),
      button('Save PNG', () => ctx.save(scatter.picture(), `${run.name.replace(/\W+/g, '-')}-map.png`))))
  scatter.element.append(hover)
  const beside = h('div', { class: 'beside' }, large.element, facts, h('div', { class: run.x === 'table' ? 'pair over' : 'pair' }, ...(run.x === 'table' ? [nearest, small.element] : [small.element, nearest])))
  root.append(bar, ...(told.element ? [told.element] : []), h('div', { class: 'map' }, h('div', {}, scatter.element, legend), beside))

  const rooms = () => {
    const wide = beside.clientWidth
    large.room = innerWidth < 900 ? 112 : Math.min(wide, 560)
  }
  rooms()
  blank(run, large)
  addEventListener('resize', rooms)
  arrange()
  const at = state.get('at', '0,0').split(',').map(Number)
  scatter.place(at.length === 2 && at.every(Number.isFinite) ? at : [0, 0])

  async function ready () {
    model = model || await loading
    choices()
    encircle()
    scatter.place(scatter.at)
    if (state.get('grid', false)) lay(true)
  }
  ready().catch(error => { head.textContent = `The map is as it was kept, and no picture can be made: ${error.message}.` })
  ctx.onTheme(() => { scatter.render(); legends() })
  return () => {
    removeEventListener('resize', rooms)
    cancelAnimationFrame(frame)
    scatter.close()
  }
}
