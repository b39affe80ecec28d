// The frame: which run, which view, what the address says; keys, colours, and the one socket.
import { button, clear, h, nats, plain, typing } from './parts/controls.js'
import { Refusal, Socket } from './parts/socket.js'

const ORDER = ['map', 'latents', 'between', 'samples', 'example', 'training', 'truth', 'tension', 'learn']
const EVERY = 5000 // milliseconds between looks at which runs there are

const $ = id => document.getElementById(id)
const app = { views: [], runs: [], run: null, view: null, unmount: null, themes: new Set(), turn: 0 }

if (location.search) history.replaceState(null, '', location.pathname + location.hash) // the token is in the cookie now

// ---- the address: #/RUN/VIEW?key=value
function where () {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?')
  const [run, view] = path.split('/')
  return { run, view, keys: new URLSearchParams(query || '') }
}

function address (run, view, keys = new URLSearchParams()) {
  const query = keys.toString()
  return `#/${run}/${view}${query ? `?${query}` : ''}`
}

let writing = null
function state () {
  const held = where().keys
  return {
    get (key, fallback) {
      const value = held.get(key)
      if (value === null) return fallback
      if (typeof fallback === 'number') return Number.isFinite(Number(value)) && value !== '' ? Number(value) : fallback
      if (typeof fallback === 'boolean') return value === 'true'
      return value
    },
    set (key, value) {
      if (value === null || value === undefined || value === '') held.delete(key)
      else held.set(key, String(value))
      const [run, view] = [app.run.id, app.view.name]
      clearTimeout(writing)
      writing = setTimeout(() => {
        const now = where() // a link may have been followed meanwhile, and its address is not this view's to write
        if (now.run === run && now.view === view) history.replaceState(null, '', address(run, view, held))
      }, 120)
    }
  }
}

// ---- what views are given
async function get (path) {
  const response = await fetch(path.startsWith('/') ? path : `/${path}`)
  const content = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }))
  if (!response.ok) throw new Refusal(content.error)
  return content
}

function colours () {
  const style = getComputedStyle(document.documentElement)
  const read = name => style.getPropertyValue(`--${name}`).trim()
  const found = {}
  for (const name of ['paper', 'ink', 'quiet', 'hair', 'accent', 'over']) found[name] = read(name)
  found.small = read('small')
  found.values = Array.from({ length: 9 }, (_, i) => read(`value-${i}`))
  found.classes = Array.from({ length: 10 }, (_, i) => read(`class-${i}`))
  return found
}

let fading = null
export function note (sentence) {
  $('note').textContent = sentence
  clearTimeout(fading)
  fading = setTimeout(() => { $('note').textContent = '' }, 6000)
}

async function save (picture, name) {
  let blob
  if (picture instanceof SVGElement) {
    const copy = picture.cloneNode(true)
    const style = getComputedStyle(document.documentElement)
    copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
    // colours are variables of the page: in a file they must be said
    const said = new XMLSerializer().serializeToString(copy).replace(/var\(--([\w-]+)\)/g, (_, variable) => style.getPropertyValue(`--${variable}`).trim())
    blob = new Blob([said], { type: 'image/svg+xml' })
  } else {
    blob = await new Promise(resolve => picture.toBlob(resolve, 'image/png'))
  }
  const link = h('a', { href: URL.createObjectURL(blob), download: name })
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
}

const socket = new Socket(open => { if (!open && app.run) note('The server is gone; start taut explore again.') },
  busy => $('view').setAttribute('aria-busy', busy))

// ---- runs
// a point of a sweep is known by its values
function nameOf (run) {
  const options = Object.entries(run.sweep?.options || {})
  if (!options.length) return run.name
  return `${run.sweep.name}, ${options.map(([key, value]) => `${key.split('.').pop()} ${value}`).join(', ')}`
}

function rail () {
  const keys = run => `${run.data}${run.finished ? '' : ', not finished'}`
  const list = h('ul', {}, app.runs.map(run => {
    const numbers = [['ELBO', run.elbo], ['rate', run.rate]].filter(([, number]) => number !== null)
    const said = h('dl', {}, run.finished
      ? numbers.map(([words, number]) => [h('dt', {}, words), h('dd', {}, `${nats(number)} nats`)]).flat()
      : h('dt', {}, 'not finished'))
    return h('li', {}, h('a', { href: address(run.id, app.view ? app.view.name : 'map'), 'aria-current': app.run && run.id === app.run.id ? 'true' : null, title: `${run.name}: ${keys(run)}` },
      h('span', { class: 'name' }, nameOf(run)), said))
  }))
  const box = h('select', { 'aria-label': 'Run', onchange: () => { location.hash = address(box.value, app.view.name) } },
    app.runs.map(run => h('option', { value: run.id, selected: app.run && run.id === app.run.id },
      run.elbo === null ? nameOf(run) : `${nameOf(run)}, ELBO ${plain(run.elbo, 1)} nats`)))
  const now = JSON.stringify([app.runs, app.run && app.run.id, app.view && app.view.name])
  if (now === app.railed) return
  app.railed = now
  clear($('rail')).append(box, list)
}

function tabs () {
  clear($('views')).append(...app.views.map(view => h('a', {
    href: address(app.run.id, view.name), 'aria-current': view === app.view ? 'page' : null
  }, view.title)))
  const now = $('views').querySelector('[aria-current]')
  if (now) now.scrollIntoView({ block: 'nearest', inline: 'nearest' })
}

async function look () {
  if (document.hidden) return
  try {
    app.runs = (await get('api/runs')).runs
    if (app.run) rail()
  } catch { /* the socket says that the server is gone */ }
}

// ---- going from view to view
async function go () {
  const turn = ++app.turn
  const asked = where()
  const brief = app.runs.find(run => run.id === asked.run) || app.runs[0]
  const view = app.views.find(view => view.name === asked.view) || app.views[0]
  if (asked.run !== brief.id || asked.view !== view.name) {
    history.replaceState(null, '', address(brief.id, view.name, asked.run === brief.id ? asked.keys : new URLSearchParams()))
  }
  clearTimeout(writing)
  const run = await get(`api/runs/${brief.id}`)
  if (turn !== app.turn) return
  leave()
  app.run = run
  app.view = view
  document.title = `${view.title} · ${run.name} · taut`
  rail()
  tabs()
  const root = clear($('view'))
  root.className = `view-${view.name}`
  for (const key of Object.keys(root.dataset)) delete root.dataset[key]
  const themes = new Set()
  app.themes = themes
  const reason = run.failure || view.unavailable(run)
  if (reason) {
    root.append(h('h1', {}, view.title), h('p', { class: 'failure' }, reason))
    return
  }
  const ctx = {
    run,
    runs: app.runs,
    state: state(),
    ask: (kind, fields, key) => new Promise((resolve, reject) => {
      // an answer for a view that has been left is nobody's
      socket.ask(run.id, kind, fields, key).then(found => { if (turn === app.turn) resolve(found) }, error => { if (turn === app.turn) reject(error) })
    }),
    get,
    colours,
    onTheme: act => themes.add(act),
    note,
    save
  }
  try {
    const unmount = await view.mount(root, ctx)
    if (turn === app.turn) app.unmount = unmount
    else if (unmount) unmount()
  } catch (error) {
    if (turn !== app.turn) return
    if (!(error instanceof Refusal)) console.error(error)
    clear(root).append(h('h1', {}, view.title), h('p', { class: 'failure' }, `This cannot be shown. ${error.message}`))
  }
}

function leave () {
  if (app.unmount) app.unmount()
  app.unmount = null
}

// A refusal that no view has caught is still told.
addEventListener('unhandledrejection', event => {
  if (event.reason instanceof Refusal) {
    event.preventDefault()
    note(event.reason.message)
  }
})

// ---- light and dark
const dark = matchMedia('(prefers-color-scheme: dark)')
function theme () {
  let chosen = null
  try { chosen = localStorage.getItem('taut-theme') } catch { /* a browser may keep nothing */ }
  const now = chosen || (dark.matches ? 'dark' : 'light')
  document.documentElement.dataset.theme = now
  $('theme').textContent = now === 'dark' ? 'Light' : 'Dark'
  for (const act of app.themes) act()
}
dark.addEventListener('change', theme)
$('theme').addEventListener('click', () => {
  const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'
  try { localStorage.setItem('taut-theme', next) } catch { /* then for this time only */ }
  document.documentElement.dataset.theme = next
  $('theme').textContent = next === 'dark' ? 'Light' : 'Dark'
  for (const act of app.themes) act()
})

// ---- keys
const KEYS = [
  ['1 – 9', 'go to a view'],
  ['[  ]', 'the run before, the run after'],
  ['← → ↑ ↓', 'move the point, or the slider'],
  ['Shift', 'with an arrow: finely'],
  ['+  −  0', 'on the map: nearer, farther, all'],
  ['?', 'this list'],
  ['Esc', 'close it']
]

function help () {
  const dialog = $('help')
  clear(dialog).append(h('h2', {}, 'Keys'),
    h('table', {}, h('tbody', {}, KEYS.map(([key, what]) => h('tr', {}, h('th', {}, h('kbd', {}, key)), h('td', {}, what))))),
    h('div', { class: 'bar more' }, button('Close', () => dialog.close())))
  dialog.showModal()
}
$('keys').addEventListener('click', help)

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || $('help').open) return
  if (event.key === '?') {
    event.preventDefault()
    help()
  } else if (/^[1-9]$/.test(event.key) && app.run) {
    const view = app.views.find(view => view.name === ORDER[event.key - 1])
    if (view) location.hash = address(app.run.id, view.name)
  } else if ((event.key === '[' || event.key === ']') && app.run) {
    const i = app.runs.findIndex(run => run.id === app.run.id) + (event.key === ']' ? 1 : -1)
    if (app.runs[i]) location.hash = address(app.runs[i].id, app.view.name)
  }
})

document.querySelector('.skip').addEventListener('click', event => {
  event.preventDefault()
  $('view').focus()
})

async function start () {
  theme()
  const view = name => import(`./views/${name}.js`)
  const known = ORDER.map(view) // while the list of runs is read
  const found = await get('api/runs')
  app.runs = found.runs
  rail() // saved numbers first
  app.views = await Promise.all([...known, ...found.views.filter(name => !ORDER.includes(name)).map(view)])
  if (!app.runs.length) {
    $('view').append(h('p', { class: 'failure' }, 'No run is there any more. Train one: taut train digits'))
    return
  }
  addEventListener('hashchange', go)
  await go()
  setInterval(look, EVERY)
}

start().catch(error => {
  if (!(error instanceof Refusal)) console.error(error)
  $('view').append(h('p', { class: 'failure' }, `The page cannot start. ${error.message}`))
})
