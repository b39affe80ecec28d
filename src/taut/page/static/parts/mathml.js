// MathML in few words: each function gives markup, and `equation` an element of it.
const NAMESPACE = 'http://www.w3.org/1998/Math/MathML'

export const row = (...parts) => `<mrow>${parts.join('')}</mrow>`
export const id = name => `<mi>${name}</mi>`
export const up = name => `<mi mathvariant="normal">${name}</mi>`
export const op = sign => `<mo>${sign}</mo>`
export const num = value => `<mn>${value}</mn>`
export const words = text => `<mtext>${text}</mtext>`
export const sub = (a, b) => `<msub>${row(a)}${row(b)}</msub>`
export const sup = (a, b) => `<msup>${row(a)}${row(b)}</msup>`
export const frac = (a, b) => `<mfrac>${row(a)}${row(b)}</mfrac>`
export const under = (a, b) => `<munder>${row(a)}${row(b)}</munder>`
export const gap = '<mspace width="0.5em"></mspace>'
export const paren = (...parts) => row('<mo stretchy="false">(</mo>', ...parts, '<mo stretchy="false">)</mo>')
export const tall = (...parts) => row('<mo>(</mo>', ...parts, '<mo>)</mo>')
export const square = (...parts) => row('<mo>[</mo>', ...parts, '<mo>]</mo>')
export const given = (a, b) => row(a, op('|'), b)
export const call = (f, ...parts) => row(id(f), paren(...parts))
export const log = (...parts) => row('<mi>log</mi>', '<mo>&#x2061;</mo>', ...parts)
export const mean = (below, ...parts) => row(sub('<mi mathvariant="normal">E</mi>', below), square(...parts))
export const KL = (a, b) => row(words('KL'), paren(a, op('‖'), b))

export const px = call('p', id('x'))
export const pz = call('p', id('z'))
export const pxz = call('p', given(id('x'), id('z')))
export const pzx = call('p', given(id('z'), id('x')))
export const qzx = call('q', given(id('z'), id('x')))
export const joint = call('p', id('x'), op(','), id('z'))

export function equation (markup, { block = true, label } = {}) {
  const math = document.createElementNS(NAMESPACE, 'math')
  if (block) math.setAttribute('display', 'block')
  if (label) math.setAttribute('aria-label', label)
  math.innerHTML = row(markup)
  return math
}
