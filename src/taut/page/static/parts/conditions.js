// What a model is told beside its latents: a label to choose, a number to slide. A change is answered at once.
import { h, plain, slider } from './controls.js'

const FEW = 12 // labels that stand side by side; more are a list

// options: run; state, where the address holds what is told; act(), called after a change
export function conditions (run, state, act) {
  const known = run.reading.conditions || []
  const usual = known.map(each => each.categories.length ? each.categories[0] : Number(each.mean.toPrecision(3)))
  const read = (text, i) => known[i].categories.length ? decodeURIComponent(text) : Number(text)
  let held = []
  try { held = state.get('told', '').split(',').map((text, i) => known[i] ? read(text, i) : null) } catch { /* an address that was damaged */ }
  const fits = (value, i) => known[i].categories.length ? known[i].categories.includes(value) : Number.isFinite(value)
  let values = held.length === known.length && held.every(fits) ? held : usual.slice()

  const changed = () => {
    const same = values.every((value, i) => value === usual[i])
    state.set('told', same ? null : values.map(value => encodeURIComponent(value)).join(','))
    act()
  }
  const controls = known.map((each, i) => each.categories.length
    ? kind(each, () => values[i], value => { values[i] = value; changed() })
    : number(each, () => values[i], value => { values[i] = value; changed() }))
  const element = known.length ? h('div', { class: 'bar told' }, controls.map(control => control.element)) : null
  return {
    element,
    known,
    names: known.map(each => singular(each.name)).join(', '),
    fields: () => known.length ? { condition: values } : {},
    words: (but = -1) => known.map((each, i) => `${singular(each.name)} ${typeof values[i] === 'number' ? plain(values[i]) : values[i]}`).filter((_, i) => i !== but).join(', '),
    set (fresh) {
      if (!fresh) return
      values = fresh.slice()
      controls.forEach(control => control.show())
      const same = values.every((value, i) => value === usual[i])
      state.set('told', same ? null : values.map(value => encodeURIComponent(value)).join(','))
    }
  }
}

let count = 0
function kind ({ name, categories }, get, set) {
  if (categories.length > FEW) {
    const box = h('select', { 'aria-label': name, onchange: () => set(box.value) }, categories.map(each => h('option', { value: each }, each)))
    const show = () => { box.value = get() }
    show()
    return { element: h('label', { class: 'field' }, h('span', { class: 'small' }, singular(name)), box), show }
  }
  const group = `told-${count++}`
  const boxes = categories.map(each => h('input', { type: 'radio', name: group, value: each, 'aria-label': `${singular(name)} ${each}`, onchange: () => set(each) }))
  const show = () => boxes.forEach(box => { box.checked = box.value === get() })
  show()
  return {
    element: h('span', { class: 'field', role: 'radiogroup', 'aria-label': name }, h('span', { class: 'small' }, singular(name)),
      h('span', { class: 'kinds' }, boxes.map((box, i) => h('label', {}, box, h('span', {}, categories[i]))))),
    show
  }
}

function number ({ name, mean, std }, get, set) {
  const step = 10 ** Math.floor(Math.log10(std / 20))
  const round = value => Math.round(value / step) * step
  const element = slider(name, { low: round(mean - 3 * std), high: round(mean + 3 * std), step, value: get(), act: set })
  return { element, show: () => element.set(get()) }
}

export const singular = name => name === 'labels' ? 'label' : name
