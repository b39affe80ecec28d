// New examples: z from the prior, with the temperature of each layer, and how layers add detail from the top down.
import { button, clear, h, select, slider } from '../parts/controls.js'
import { sheet } from '../parts/picture.js'

export const name = 'samples'
export const title = 'Samples'

export function unavailable (run) {
  return run.finished ? null : 'The training is not finished, so there is no model yet; see Training.'
}

export async function mount (root, ctx) {
  const { run, state, colours } = ctx
  const head = h('p', { class: 'quiet' }, 'The model is being loaded …')
  root.append(h('h1', {}, 'New examples'), head)
  const model = await ctx.ask('model')
  const count = model.layers.length
  const many = sheet(run, colours, 'samples')
  const depth = sheet(run, colours, 'the same draws, layer by layer')
  const depthHead = h('div')
  let temperatures = state.get('t', '1').split(',').map(Number)
  if (!temperatures.every(t => t > 0 && t <= 10) || ![1, count].includes(temperatures.length)) temperatures = [1]
  let [seed, keep, n] = [state.get('seed', 0), Math.min(state.get('keep', 0), count), state.get('n', model.averaged ? 48 : 12)] // draws element by element take their time
  let means = state.get('means', model.averaged)

  let frame = 0
  async function draw () {
    state.set('seed', seed)
    state.set('t', temperatures.some(t => t !== 1) ? temperatures.join(',') : null)
    state.set('keep', keep || null)
    const given = { n, seed, keep, means }
    if (count) given.temperature = temperatures
    const found = await ctx.ask('sample', given, 'sample')
    cancelAnimationFrame(frame)
    frame = requestAnimationFrame(() => {
      last = found
      show()
    })
  }

  let last = null
  let lastDepth = null
  function show () {
    const room = Math.max(200, root.clientWidth - 48)
    if (last) {
      many.draw(last.arrays.x, { columns: null, room, least: room < 500 ? 40 : 84, gap: 3, most: 4 })
      root.dataset.shown = String(Number(root.dataset.shown || 0) + 1)
      const z = count ? (keep ? `, the same z in the top ${keep} of ${count} layers` : ', each z a draw from the prior') : ''
      head.textContent = `${n} ${last.what}${z}. Seed ${seed}: the same seed gives the same examples.`
    }
    if (lastDepth) depth.draw(lastDepth.arrays.x, { columns: lastDepth.n, room: Math.min(room, 640), least: 40, gap: 3, most: 3 })
  }

  async function detail () {
    if (count < 2) return
    try {
      lastDepth = await ctx.ask('detail', { n: 6, seed, temperature: Math.max(0.01, temperatures[0]) }, 'detail')
      clear(depthHead).append(h('h2', {}, 'Layer by layer'), h('p', { class: 'quiet' },
        `From above: ${lastDepth.depths.map(k => `${k}`).join(', ')} of ${count} layers as drawn, those below where they are expected. What changes from row to row is what a layer adds.`))
      show()
    } catch (error) {
      clear(depthHead).append(h('p', { class: 'quiet' }, `No pictures layer by layer: ${error.message}.`))
    }
  }

  const typed = h('input', { type: 'number', min: 0, step: 1, value: seed, 'aria-label': 'seed', onchange: () => {
    seed = Math.min(2 ** 31 - 1, Math.max(0, Math.round(Number(typed.value)) || 0))
    typed.value = seed
    draw()
    detail()
  } })
  const bar = h('div', { class: 'bar' },
    h('span', { class: 'field' }, h('span', { class: 'small' }, 'seed'), typed),
    button('Next seed', () => { seed = (seed + 1) % 2 ** 31; typed.value = seed; draw(); detail() }))
  const warm = h('div', { class: 'bar' })
  function heats () {
    clear(warm)
    if (!count) return
    const single = temperatures.length === 1
    temperatures.forEach((t, i) => {
      warm.append(slider(single ? 'temperature' : `layer ${i + 1}`, { low: 0.05, high: 2, step: 0.05, value: t, act: value => {
        temperatures[i] = Math.min(10, Math.max(0.01, value))
        draw()
      } }))
    })
    if (count > 1 && count <= 12) {
      warm.append(button(single ? 'One for each layer' : 'One for all', () => {
        temperatures = single ? Array(count).fill(temperatures[0]) : [temperatures[0]]
        heats()
        draw()
      }))
    }
  }
  heats()
  if (model.averaged) {
    bar.append(select('x', [['true', 'means of p(x|z)'], ['false', 'draws from p(x|z)']], String(means), value => {
      means = value === 'true'
      state.set('means', means)
      draw()
    }))
  }
  if (count > 1) {
    bar.append(select('keep', [[0, 'nothing'], ...Array.from({ length: count }, (_, i) => [i + 1, `top ${i + 1}`])], keep, value => {
      keep = Number(value)
      draw()
    }))
  }
  bar.append(select('how many', [[12, '12'], [48, '48'], [120, '120']], n, value => { n = Number(value); state.set('n', n); draw() }))
  if (run.x !== 'table') bar.append(h('span', { class: 'end' }, button('Save PNG', () => ctx.save(many.canvas, `${run.name.replace(/\W+/g, '-')}-samples-${seed}.png`))))
  root.append(bar, warm, many.element, h('div', { class: 'more' }, depthHead, depth.element))
  addEventListener('resize', show)
  ctx.onTheme(show)
  await draw()
  detail()
  return () => {
    removeEventListener('resize', show)
    cancelAnimationFrame(frame)
  }
}
