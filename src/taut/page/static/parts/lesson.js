// The shipped lessons, and the arithmetic that their figures do.
const TYPES = { uint8: Uint8Array, int16: Int16Array, float32: Float32Array }
const held = new Map()

export function lesson (name) {
  if (!held.has(name)) {
    const url = new URL(`../lessons/${name}.json`, import.meta.url)
    held.set(name, fetch(url).then(answer => {
      if (!answer.ok) throw new Error(`the lesson ${name} is not there`)
      return answer.json()
    }).then(opened))
  }
  return held.get(name)
}

function opened (value) {
  if (Array.isArray(value)) return value.map(opened)
  if (value === null || typeof value !== 'object') return value
  if (typeof value.base64 === 'string') {
    const bytes = Uint8Array.from(atob(value.base64), letter => letter.charCodeAt(0))
    return { data: new TYPES[value.dtype](bytes.buffer), shape: value.shape }
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, opened(inner)]))
}

// pictures (N, H, W), however many channels of one they are said to have
export function flat ({ data, shape }) {
  const [tall, wide] = shape.slice(-2)
  return { data, shape: [data.length / tall / wide, tall, wide] }
}

// the same as bytes, of values from 0 to `levels`
export function bytes ({ data, shape }, levels) {
  return flat({ data: Uint8Array.from(data, v => Math.round(v * 255 / levels)), shape })
}

// normal draws that are the same each time
export function normals (seed) {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  let spare = null
  return () => {
    if (spare !== null) { const one = spare; spare = null; return one }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()))
    const angle = 2 * Math.PI * uniform()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
}

export const klOf = (mean, std) => 0.5 * (mean * mean + std * std - 1) - Math.log(std)

export const LOG_2PI = Math.log(2 * Math.PI)
export const logNormal = (z, mean = 0, std = 1) => -0.5 * ((z - mean) / std) ** 2 - Math.log(std) - 0.5 * LOG_2PI

export function logAdd (a, b) {
  if (a === -Infinity) return b
  const high = Math.max(a, b)
  return high + Math.log1p(Math.exp(-Math.abs(a - b)))
}

// log p(x|z) of a lesson's example at any z, between the points of its grid by cubics (Catmull and Rom)
export function field (example, reach, points) {
  const { data } = example.tenths
  const near = i => Math.min(points - 1, Math.max(0, i))
  const weights = t => [0.5 * t * (t * (2 - t) - 1), 0.5 * (t * t * (3 * t - 5) + 2), 0.5 * t * (t * (4 - 3 * t) + 1), 0.5 * t * t * (t - 1)]
  return (a, b) => {
    const place = v => Math.min(points - 1.000001, Math.max(0, (v + reach) / (2 * reach) * (points - 1)))
    const [u, v] = [place(a), place(b)]
    const [i, j] = [Math.floor(u), Math.floor(v)]
    const [across, along] = [weights(u - i), weights(v - j)]
    let sum = 0
    for (let m = 0; m < 4; m++) {
      const row = near(i + m - 1) * points
      for (let n = 0; n < 4; n++) sum += across[m] * along[n] * data[row + near(j + n - 1)]
    }
    return 0.1 * sum
  }
}

// nodes and weights for an expectation under N(0, 1): the trapezium rule, exact to many digits for what is smooth
const NODES = Array.from({ length: 25 }, (_, i) => -4.2 + 8.4 * i / 24)
const TOTAL = NODES.reduce((sum, u) => sum + Math.exp(-0.5 * u * u), 0)
const SHARES = NODES.map(u => Math.exp(-0.5 * u * u) / TOTAL)

// E_q log p(x|z), KL(q‖p) and their difference for q = N(mean, diag std²) in two dimensions
export function boundOf (at, mean, std) {
  let fit = 0
  for (let i = 0; i < NODES.length; i++) {
    for (let j = 0; j < NODES.length; j++) {
      fit += SHARES[i] * SHARES[j] * at(mean[0] + std[0] * NODES[i], mean[1] + std[1] * NODES[j])
    }
  }
  const rate = klOf(mean[0], std[0]) + klOf(mean[1], std[1])
  return { fit, rate, elbo: fit - rate }
}

// the best q of its family: uphill in (mean, log std), each step halved until it gains
export function climbed (at, mean, std, steps = 60) {
  let here = [...mean, ...std.map(Math.log)]
  const value = p => boundOf(at, [p[0], p[1]], [Math.exp(p[2]), Math.exp(p[3])]).elbo
  let best = value(here); let pace = 0.2
  for (let s = 0; s < steps && pace > 1e-4; s++) {
    const slope = here.map((_, k) => {
      const [more, less] = [0.01, -0.01].map(by => here.map((v, i) => i === k ? v + by : v))
      return (value(more) - value(less)) / 0.02
    })
    const length = Math.hypot(...slope) || 1
    for (; pace > 1e-4; pace /= 2) {
      const next = here.map((v, k) => v + pace * slope[k] / length)
      const gained = value(next)
      if (gained > best) { here = next; best = gained; pace *= 1.5; break }
    }
  }
  return { mean: here.slice(0, 2), std: here.slice(2).map(Math.exp) }
}
