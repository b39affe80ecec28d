// Elements and controls: each has a label that can be read aloud, and tells its value when it changes.

export function h (tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'class') element.className = value
    else if (name in element && name !== 'list' && name !== 'form') element[name] = value
    else element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined))
  return element
}

export function button (words, act, props = {}) {
  return h('button', { type: 'button', onclick: act, ...props }, words)
}

export function toggle (words, value, act, props = {}) {
  const element = button(words, () => {
    const now = element.getAttribute('aria-pressed') !== 'true'
    element.setAttribute('aria-pressed', now)
    act(now)
  }, props)
  element.setAttribute('aria-pressed', Boolean(value))
  element.set = now => element.setAttribute('aria-pressed', Boolean(now))
  return element
}

export function check (words, value, act) {
  const box = h('input', { type: 'checkbox', checked: Boolean(value), onchange: () => act(box.checked) })
  return h('label', { class: 'field' }, box, words)
}

// options: [[value, words], …]
export function select (words, options, value, act) {
  const box = h('select', { onchange: () => act(box.value), 'aria-label': words },
    options.map(([key, said]) => h('option', { value: key, selected: String(key) === String(value) }, said)))
  return h('label', { class: 'field' }, h('span', { class: 'small' }, words), box)
}

// A slider with the number beside it, which can be typed.
export function slider (words, { low, high, step, value, act, unit = '' }) {
  const range = h('input', { type: 'range', min: low, max: high, step, value, 'aria-label': words })
  const typed = h('input', { type: 'text', inputMode: 'decimal', value: plain(value), 'aria-label': `${words}, typed`, size: 6 })
  range.value = value
  range.addEventListener('input', () => { typed.value = plain(Number(range.value)); act(Number(range.value)) })
  typed.addEventListener('change', () => {
    const number = Number(typed.value.replace('−', '-').replace(',', '.'))
    if (typed.value.trim() === '' || !Number.isFinite(number)) typed.value = plain(Number(range.value))
    else { range.value = number; act(number) }
  })
  const element = h('span', { class: 'field' }, h('span', { class: 'small' }, words), range, typed, unit && h('span', { class: 'small' }, unit))
  element.set = number => { range.value = number; typed.value = plain(number) }
  element.range = range
  return element
}

// Numbers as they are printed: a true minus, no more digits than say something.
export function plain (number, digits = 2) {
  if (number === null || number === undefined || !Number.isFinite(number)) return '–'
  const said = Math.abs(number) >= 1e5 ? number.toPrecision(4) : number.toFixed(digits)
  return (Number(said) === 0 ? said.replace('-', '') : said).replace('-', '−')
}

export function nats (number) {
  return number === null || number === undefined ? '–' : `${plain(number, Math.abs(number) >= 100 ? 1 : 2)}`
}

export function clear (element) {
  while (element.firstChild) element.firstChild.remove()
  return element
}

export function typing (target) {
  return target && (target.tagName === 'SELECT' || target.isContentEditable || (target.tagName === 'INPUT' && target.type !== 'checkbox'))
}
