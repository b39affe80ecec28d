// New examples: z from the prior, with the temperature of each layer, and how layers add detail from the top down.
import { button, clear, h, select, slider } from '../parts/controls.js'
import { conditions, singular } from '../parts/conditions.js'
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
  const labels = h('div', { class: 'row-names', 'aria-hidden': 'true' })
  let temperatures = state.get('t', '1').split(',').map(Number)
  if (!temperatures.every(t => t > 0 && t <= 10) || ![1, count].includes(temperatures.length)) temperatures = [1]
  let [seed, keep, n] = [state.get('seed', 0), Math.min(state.get('keep', 0), count), state.get('n', model.averaged ? 48 : 12)] // draws element by element take their time
  let means = state.get('means', model.averaged)
  const told = conditions(run, state, () => { draw(); detail() })
  // a row for each label, by the first kind that has few; one that is chosen; or as they come in the data
  const kind = told.known.findIndex(each => each.categories.length > 1 && each.categories.length <= 33)
  let given = state.get('given', kind >= 0 ? 'each' : told.known.length ? 'one' : '')
  if (!told.known.length) given = ''
  else if (!['each', 'one', 'data'].includes(given) || (given === 'each' && kind < 0)) given = 'one'

  let frame = 0
  async function draw () {
    state.set('seed', seed)
    state.set('t', temperatures.some(t => t !== 1) ? temperatures.join(',') : null)
    state.set('keep', keep || null)
    const fields = { n, seed, keep, means, ...(given && given !== 'data' ? told.fields() : {}) }
    if (given === 'each') Object.assign(fields, { each: kind, n: Math.min(12, Math.floor(400 / told.known[kind].categories.length)) })
    if (count) fields.temperature = temperatures
    const found = await ctx.ask('sample', fields, 'sample')
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
      const rows = last.rows.length > 1 ? last.rows : null
      const across = rows ? last.arrays.x.shape[0] / rows.length : null
      const beside = rows && run.x !== 'table' ? Math.min(140, 14 + 8 * Math.max(...rows.map(row => row.length))) : 0
      many.draw(last.arrays.x, {
        columns: across, room: room - beside, least: room < 500 ? 40 : 84, gap: 3, most: rows ? 2 : 4, exact: Boolean(rows),
        names: rows ? rows.flatMap(row => Array(across).fill(row)) : null
      })
      clear(labels)
      labels.hidden = !beside
      labels.style.width = `${beside}px`
      if (beside) {
        for (const row of rows) {
          const words = h('span', { class: 'small', title: row }, row)
          words.style.height = `${many.layout.height}px`
          labels.append(words)
        }
      }
      root.dataset.shown = String(Number(root.dataset.shown || 0) + 1)
      const z = count ? (keep ? `, the same z in the top ${keep} of ${count} layers` : ', each z a draw from the prior') : ''
      const said = {
        each: rows ? `, a row for each ${singular(told.known[kind].name)}${told.known.length > 1 ? `, else given ${told.words(kind)}` : ''}; down a column the noise is the same` : '',
        one: ` given ${told.words()}`,
        data: `, given ${told.names} as they come in the data`
      }[given] || ''
      head.textContent = `${last.arrays.x.shape[0]} ${last.what}${given === 'each' ? '' : z}${said}. Seed ${seed}: the same seed gives the same examples.`
    }
    if (lastDepth) depth.draw(lastDepth.arrays.x, { columns: lastDepth.n, room: Math.min(room, 640), least: 40, gap: 3, most: 3 })
  }

  async function detail () {
    if (count < 2) return
    try {
      lastDepth = await ctx.ask('detail', { n: 6, seed, temperature: Math.max(0.01, temperatures[0]), ...told.fields() }, 'detail')
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
  const number = select('how many', [[12, '12'], [48, '48'], [120, '120']], n, value => { n = Number(value); state.set('n', n); draw() })
  if (told.known.length) {
    const one = singular(told.known[Math.max(kind, 0)].name)
    bar.append(select('given', [...(kind >= 0 ? [['each', `each ${one} in turn`]] : []), ['one', told.known.length > 1 ? 'what is chosen' : `one ${one}`], ['data', 'as in the data']], given, value => {
      given = value
      state.set('given', value)
      fitting()
      draw()
    }))
  }
  function fitting () {
    number.hidden = given === 'each'
    if (told.element) told.element.hidden = given === 'data' || (given === 'each' && told.known.length === 1)
  }
  fitting()
  bar.append(number)
  if (run.x !== 'table') bar.append(h('span', { class: 'end' }, button('Save PNG', () => ctx.save(many.canvas, `${run.name.replace(/\W+/g, '-')}-samples-${seed}.png`))))
  root.append(bar, ...(told.element ? [told.element] : []), warm, h('div', { class: 'rowed' }, labels, many.element), h('div', { class: 'more' }, depthHead, depth.element))
  addEventListener('resize', show)
  ctx.onTheme(show)
  await draw()
  detail()
  return () => {
    removeEventListener('resize', show)
    cancelAnimationFrame(frame)
  }
}
