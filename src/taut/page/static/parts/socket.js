// Questions and answers: JSON goes out, frames of arrays come back. For each key one question is in flight and only the
// newest of those behind it waits; what has grown stale is never asked.

const TYPES = { uint8: Uint8Array, int16: Int16Array, int32: Int32Array, float32: Float32Array, float64: Float64Array }
const words = new TextDecoder()

export function unpack (buffer) {
  const length = new DataView(buffer).getUint32(0, true)
  const meta = JSON.parse(words.decode(new Uint8Array(buffer, 4, length)))
  let start = 4 + length
  const arrays = {}
  for (const { name, dtype, shape } of meta.arrays) {
    const count = shape.reduce((a, b) => a * b, 1)
    const data = new TYPES[dtype](buffer, start, count)
    arrays[name] = { data, shape }
    start += Math.ceil(data.byteLength / 8) * 8
  }
  return { ...meta, arrays }
}

export class Refusal extends Error {}

export class Socket {
  // onState(open), and onBusy(whether an answer is awaited)
  constructor (onState = () => {}, onBusy = () => {}) {
    this.count = 0
    this.asked = new Map()
    this.keys = new Map()
    Object.assign(this, { onState, onBusy })
    this.pause = 250
    this.connect()
  }

  connect () {
    this.open = new Promise(resolve => {
      const ws = new WebSocket(`ws://${location.host}/socket`)
      ws.binaryType = 'arraybuffer'
      ws.onopen = () => { this.ws = ws; this.pause = 250; this.onState(true); resolve() }
      ws.onmessage = event => this.heard(event.data)
      ws.onclose = () => {
        this.ws = null
        this.onState(false)
        for (const { reject } of this.asked.values()) reject(new Refusal('the server is gone; start taut explore again'))
        this.asked.clear()
        this.keys.clear()
        this.onBusy(false)
        setTimeout(() => this.connect(), this.pause)
        this.pause = Math.min(this.pause * 2, 8000)
      }
    })
  }

  heard (buffer) {
    const frame = unpack(buffer)
    const waiting = this.asked.get(frame.id)
    if (!waiting) return
    this.asked.delete(frame.id)
    this.onBusy(this.asked.size > 0)
    if (frame.kind === 'error') waiting.reject(new Refusal(frame.error))
    else waiting.resolve(frame)
  }

  async send (run, kind, fields) {
    if (!this.ws) await this.open
    const id = ++this.count
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject })
      this.onBusy(true)
      this.ws.send(JSON.stringify({ id, run, kind, fields }))
    })
  }

  ask (run, kind, fields = {}, key = null) {
    if (key === null) return this.send(run, kind, fields)
    const slot = this.keys.get(key)
    return new Promise((resolve, reject) => {
      const go = () => {
        const now = { next: null }
        this.keys.set(key, now)
        this.send(run, kind, fields).then(resolve, reject).finally(() => {
          if (this.keys.get(key) === now) this.keys.delete(key)
          if (now.next) now.next()
        })
      }
      if (slot) slot.next = go // the one that waited there is stale, and its promise is let go
      else go()
    })
  }
}
