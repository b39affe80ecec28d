// The rate–distortion curve of a sweep: moving along β shows that model's map, reconstructions and samples.
import { button, h } from '../parts/controls.js'
import { bytes, flat, lesson } from '../parts/lesson.js'
import { dressed, number, short, standalone } from '../parts/plot.js'
import { tug } from '../parts/tug.js'

dressed(import.meta.url, 'records.css')

export const name = 'tension'
export const title = 'Tension'
export function unavailable () { return null }

export async function mount (root, ctx) {
  const { run, state } = ctx
  const where = h('div')
  const head = h('p', { class: 'quiet' }, 'Whether this run is a point of a sweep is being read …')
  root.append(h('h1', {}, 'Rate against distortion'), head)
  const found = await ctx.ask('sweep', {}, 'sweep')
  head.remove()
  if (found.points.length) return swept(root, where, ctx, found)

  const data = await lesson('tension')
  const source = run.config?.data?.source ?? 'DATA'
  root.append(
    h('p', {}, `${run.name} is no point of a sweep. One is made by `, h('code', { class: 'command' }, `taut sweep ${source} --objective.beta 0.1,0.3,1,3,10`), ', and this view then shows its models.'),
    h('p', { class: 'small' }, 'Below, as an example, a sweep that comes with taut: two latents, the 8×8 digits, 3,000 steps each. It is not your run.'), where)
  const points = data.points.map(point => ({ ...point, look: async () => ({ codes: point.codes, labels: data.labels, reach: point.reach, grid: flat(point.grid), rebuilt: flat(point.rebuilt), samples: flat(point.samples), plane: 'both latent dimensions; training digits by their class' }) }))
  const start = Math.min(points.length - 1, Math.max(0, Math.round(state.get('point', points.findIndex(p => p.beta === 1)))))
  const made = tug(where, { points, x: bytes(data.x, data.levels), run: { x: 'image', reading: {} }, start, label: 'β', chosen: i => state.set('point', i) })
  return ending(root, ctx, made)
}

function ending (root, ctx, made) {
  root.append(h('p', {}, button('Save the curve as SVG', () => ctx.save(standalone(made.chart.svg), 'rate-distortion.svg'), { class: 'quiet' }), button('Save the map as PNG', () => ctx.save(made.canvas, 'map.png'), { class: 'quiet' })))
  ctx.onTheme(() => made.redraw())
  return () => made.stop()
}

function swept (root, where, ctx, found) {
  const { run, state } = ctx
  const options = Object.keys(found.options)
  const named = point => options.map(key => `${key === 'objective.beta' ? 'β' : key.split('.').at(-1)} = ${short(Number(point.values[key]))}`).join(', ')
  const order = found.points.map((_, i) => i).sort((a, b) => (found.points[a].beta - found.points[b].beta) || a - b)
  const place = new Map(order.map((i, k) => [i, k]))
  let chain = Promise.resolve()
  let gone = false
  const points = order.map(i => {
    const point = found.points[i]
    let held = null
    return {
      ...point,
      name: named(point),
      look () {
        held ??= (point.run ? ctx.ask('portrait', { run: point.run }) : Promise.reject(new Error('This point is not among the runs that are shown; give taut explore the folder of the sweep.')))
          .then(({ arrays, plane, reach }) => ({ ...arrays, plane: `${plane[0].toUpperCase()}${plane.slice(1)}. ${arrays.labels ? 'Test examples by their class' : 'These data have no labels'}.`, reach }))
          .catch(error => { held = null; throw error })
        return held
      }
    }
  })
  const own = points.findIndex(point => point.run === run.id)
  const start = Math.min(points.length - 1, Math.max(0, Math.round(state.get('point', Math.max(0, own)))))
  const tail = h('p', { class: 'small' })
  root.append(h('p', {}, `${found.points.length} models of ${found.data}, swept over ${options.map(key => key === 'objective.beta' ? 'β, the weight of the rate' : key).join(' and ')}, in the folder ${found.name}.${found.finished ? '' : ' It is not finished: more points may come.'}`), where, tail)
  const made = tug(where, { points, x: null, run, start, label: options.join(' and '), frontier: found.frontier.map(i => place.get(i)), chosen: i => { state.set('point', i); tell(i) } })
  function tell (i) {
    const point = points[i]
    const lost = found.beaten.find(([loser]) => place.get(loser) === i)
    tail.textContent = [
      'The line joins the models that no mixture of others beats; the accent line holds all points of the same ELBO.',
      found.least ? `The least R + D of all is ${number(found.least.value)} nats: ${found.discrete ? 'the entropy of the data is at most that' : 'a bound of the data’s differential entropy'}.` : '',
      lost ? `At its own β, ${points[place.get(lost[1])].name} does better than ${point.name} by ${number(lost[2])} nats.` : ''
    ].filter(Boolean).join(' ')
  }
  tell(start)
  // the others are asked for while nobody waits, so that the slider answers at once
  for (const [k] of points.entries()) chain = chain.then(() => gone ? null : points[(start + k) % points.length].look().catch(() => null))
  const end = ending(root, ctx, made)
  return () => { gone = true; end() }
}
