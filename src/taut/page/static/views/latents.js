// The latents one by one: each has the control that fits it, those that say most come first, and the decoder answers.
import { button, check, clear, h, plain, select, toggle } from '../parts/controls.js'
import { conditions } from '../parts/conditions.js'
import { picture } from '../parts/picture.js'

export const name = 'latents'
export const title = 'Latents'

const DEAD = 0.01 // nats: a latent that says less than this of x says nothing
const FIRST = 40 // controls that are shown before all are asked for
const LONGEST = 64 // numbers of a code that an address still holds

export function unavailable (run) {
  if (!run.finished) return 'The training is not finished, so there is no model yet; see Training.'
  if (!run.layers.length) return 'This model has no latents to move; see Samples.'
  return null
}

export async function mount (root, ctx) {
  const { run, state, colours } = ctx
  const head = h('p', { class: 'quiet' }, 'The model is being loaded …')
  root.append(h('h1', {}, 'What each latent does'), head)
  const model = await ctx.ask('model')
  const large = picture(run, colours, { room: 320, label: 'the decoding' })
  const facts = h('dl', { class: 'facts' })
  const dims = h('div', { class: 'dims' })
  const more = h('div', { class: 'more' })
  const choices = model.layers.map((layer, i) => layer.choices === null ? null : model.arrays[`values${i}`])
  let layer = Math.min(state.get('layer', 0), model.layers.length - 1)
  let all = state.get('all', false)
  let follow = state.get('follow', true)
  let z = new Float32Array(model.latents)
  let controls = []
  const locked = new Set()
  const told = conditions(run, state, () => decode())

  const klOf = place => model.kl ? model.kl[place] : null
  // the latents of the layer that is shown: place among all, first column, and its name
  function latents () {
    const { start, block, first, variables } = model.layers[layer]
    const found = Array.from({ length: variables }, (_, i) => ({ place: first + i, column: start + i * block, label: `z${i}` }))
    if (model.kl) found.sort((a, b) => klOf(b.place) - klOf(a.place))
    return found
  }

  function remember () {
    if (z.length <= LONGEST) state.set('z', Array.from(z, v => Number(v.toFixed(3))).join(','))
  }

  function receive (found) {
    large.draw(found.arrays.x)
    root.dataset.shown = String(Number(root.dataset.shown || 0) + 1)
    facts.hidden = !model.layers[0].standard || model.layers.length > 1
    const far = Math.hypot(...z)
    clear(facts).append(h('dt', {}, "from the prior's centre"), h('dd', {}, `${plain(far)} σ`),
      h('dt', {}, 'a draw is usually at about'), h('dd', {}, `${plain(model.usual)} σ`))
  }

  let frame = 0
  async function decode () {
    remember()
    const below = layer + 1 < model.layers.length && follow
    const found = below
      ? await ctx.ask('resample', { z: Array.from(z), keep: layer + 1, ...told.fields() }, 'decode')
      : await ctx.ask('decode', { z: Array.from(z), ...told.fields() }, 'decode')
    if (below) z.set(found.arrays.z.data.subarray(model.layers[layer].start + model.layers[layer].size), model.layers[layer].start + model.layers[layer].size)
    cancelAnimationFrame(frame)
    frame = requestAnimationFrame(() => receive(found))
  }

  function take (found, row = 0) {
    const fresh = found.arrays.z.data.subarray(row * model.latents, (row + 1) * model.latents)
    const kept = Float32Array.from(fresh)
    for (const [place, [column, block]] of lockedColumns()) if (locked.has(place)) for (let i = 0; i < block; i++) kept[column + i] = z[column + i]
    z = kept
    controls.forEach(control => control.show())
    decode()
  }

  function * lockedColumns () {
    for (const { start, block, first, variables } of model.layers) {
      for (let i = 0; i < variables; i++) if (locked.has(first + i)) yield [first + i, [start + i * block, block]]
    }
  }

  function lock (place, label) {
    const element = toggle(locked.has(place) ? 'kept' : 'keep', locked.has(place), on => {
      if (on) locked.add(place)
      else locked.delete(place)
      element.textContent = on ? 'kept' : 'keep'
    }, { 'aria-label': `keep ${label} when others are drawn`, class: 'small' })
    return element
  }

  function control ({ place, column, label }) {
    const { block } = model.layers[layer]
    const values = choices[layer]
    const kl = klOf(place)
    const dead = kl !== null && kl < DEAD
    const said = kl === null ? '' : dead ? 'dead' : `${plain(kl)} nats`
    const row = h('div', { class: dead ? 'dim dead' : 'dim', title: dead ? `${label} is dead: it says ${plain(kl, 4)} nats of x` : `${label} says ${plain(kl)} nats of x` }, h('span', {}, label))
    let show
    if (values) {
      const count = values.shape[0]
      const chosen = () => {
        let [best, least] = [0, Infinity]
        for (let k = 0; k < count; k++) {
          let gap = 0
          for (let i = 0; i < block; i++) gap += (values.data[k * block + i] - z[column + i]) ** 2
          if (gap < least) [best, least] = [k, gap]
        }
        return best
      }
      const choose = k => {
        for (let i = 0; i < block; i++) z[column + i] = values.data[k * block + i]
        decode()
      }
      if (count === 2) {
        const element = toggle('', chosen() === 1, on => { element.textContent = on ? 'on' : 'off'; choose(Number(on)) }, { 'aria-label': label })
        show = () => { const on = chosen() === 1; element.set(on); element.textContent = on ? 'on' : 'off' }
        row.append(h('span', { class: 'bits' }, element))
      } else {
        const range = h('input', { type: 'range', min: 0, max: count - 1, step: 1, 'aria-label': `${label}, which of ${count} values` })
        const typed = h('span', { class: 'number' })
        range.addEventListener('input', () => { typed.textContent = `${Number(range.value) + 1} of ${count}`; choose(Number(range.value)) })
        show = () => { range.value = chosen(); typed.textContent = `${Number(range.value) + 1} of ${count}` }
        row.append(range, typed)
      }
    } else {
      const range = h('input', { type: 'range', min: -model.reach, max: model.reach, step: 0.01, 'aria-label': label })
      const typed = h('input', { type: 'text', inputMode: 'decimal', 'aria-label': `${label}, typed` })
      range.addEventListener('input', () => { z[column] = Number(range.value); typed.value = plain(z[column]); decode() })
      range.addEventListener('keydown', event => {
        const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key]
        if (!way) return
        event.preventDefault()
        range.value = Number(range.value) + way * (event.shiftKey ? 0.01 : 0.1)
        range.dispatchEvent(new Event('input'))
      })
      typed.addEventListener('change', () => {
        const number = Number(typed.value.replace('−', '-').replace(',', '.'))
        if (typed.value.trim() !== '' && Number.isFinite(number) && Math.abs(number) <= 1e6) { z[column] = number; range.value = number; decode() }
        typed.value = plain(z[column])
      })
      show = () => { range.value = z[column]; typed.value = plain(z[column]) }
      row.append(range, typed)
    }
    row.append(h('span', { class: 'kl number' }, said), lock(place, label))
    show()
    return { element: row, show }
  }

  function lay () {
    const found = latents()
    const shown = all ? found : found.slice(0, FIRST)
    controls = shown.map(control)
    clear(dims).append(...controls.map(each => each.element))
    clear(more)
    if (found.length > shown.length) {
      more.append(button(`Show all ${found.length.toLocaleString('en')}`, () => { all = true; state.set('all', true); lay() }))
    }
    const dead = found.filter(each => klOf(each.place) !== null && klOf(each.place) < DEAD).length
    const order = model.kl ? 'Sorted by KL, how much each says of x on average.' : 'This model has no KL for each latent, so they are in their own order.'
    const gone = dead ? ` ${dead} of ${found.length} ${dead === 1 ? 'is' : 'are'} dead (below ${DEAD} nats): moving ${dead === 1 ? 'it' : 'them'} changes next to nothing.` : ''
    const draws = model.averaged ? '' : ` Pictures are ${model.decodings}.`
    const given = told.known.length ? ` Beside z the model is told the ${told.names}: change it, and z stays.` : ''
    head.textContent = `${order}${gone}${draws}${given}`
  }

  // ---- where to start from
  const number = h('input', { type: 'number', min: 0, value: state.get('example', 0), 'aria-label': 'test example', id: 'from-example' })
  async function fromExample () {
    const index = Math.max(0, Math.round(Number(number.value) || 0))
    state.set('example', index)
    const found = await ctx.ask('examples', { index: [index], codes: true }, 'start')
    if (found.conditions) told.set(found.conditions[0])
    take(found)
  }
  number.addEventListener('change', fromExample)
  async function reset () {
    if (model.real) take({ arrays: { z: { data: new Float32Array(model.latents) } } })
    else await fromExample()
  }
  const seedOf = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1
  const bar = h('div', { class: 'bar' },
    button(model.real ? 'All to 0' : 'Reset', reset),
    button('Draw from the prior', async () => take(await ctx.ask('draw', { seed: seedOf(), ...told.fields() }, 'start'))),
    h('span', { class: 'field' }, button('From test example', fromExample), number))
  if (model.layers.length > 1) {
    const below = () => model.layers.length - 1 - layer
    const again = button('Redraw below', async () => {
      const found = await ctx.ask('resample', { z: Array.from(z), keep: layer + 1, seed: seedOf(), ...told.fields() }, 'start')
      follow = false
      follows.querySelector('input').checked = false
      state.set('follow', false)
      take(found)
    })
    const follows = check('those below follow', follow, on => { follow = on; state.set('follow', on ? null : false); decode() })
    bar.append(select('layer', model.layers.map((each, i) => [i, `${i + 1} of ${model.layers.length} (${each.variables})`]), layer, value => {
      layer = Number(value)
      state.set('layer', layer || null)
      again.disabled = !below()
      lay()
    }), follows, again)
    again.disabled = !below()
  }

  const keep = large.canvas ? button('Save PNG', () => ctx.save(large.canvas, `${run.name.replace(/\W+/g, '-')}-latents.png`)) : null
  const beside = h('div', { class: 'beside' }, large.element, facts, h('div', { class: 'saving' }, keep))
  root.append(bar, ...(told.element ? [told.element] : []), h('div', { class: 'latents' }, beside, h('div', {}, dims, more)))
  const rooms = () => { large.room = innerWidth < 900 ? 160 : Math.min(beside.clientWidth, 560) }
  rooms()
  addEventListener('resize', rooms)

  const held = state.get('z', '').split(',').map(Number)
  if (held.length === z.length && held.every(v => Number.isFinite(v) && Math.abs(v) <= 1e6)) {
    z = Float32Array.from(held)
    lay()
    await decode()
  } else {
    lay()
    if (model.real && model.layers.length === 1) await decode()
    else if (model.real) take(await ctx.ask('resample', { z: Array.from(z), keep: 0, ...told.fields() }).catch(() => ctx.ask('draw', { seed: 0, ...told.fields() })))
    else await fromExample()
  }
  ctx.onTheme(decode)
  return () => {
    removeEventListener('resize', rooms)
    cancelAnimationFrame(frame)
  }
}
