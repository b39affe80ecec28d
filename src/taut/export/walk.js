// A decoder's graph, walked node by node: what ONNX says each operation is, for one example.
"use strict";

const count = (dims) => dims.reduce((n, d) => n * d, 1);
const strides = (dims) => dims.map((_, i) => count(dims.slice(i + 1)));
const tensor = (dims, data) => ({ dims, data: data || new Float32Array(count(dims)) });
const axisOf = (axis, rank) => (axis < 0 ? axis + rank : axis);
const map = (f) => (node, [x]) => tensor(x.dims, Float32Array.from(x.data, f));

function broadcast(dims, to) { // for each place of `to`, the place in a tensor of `dims`
  const lead = to.length - dims.length, own = strides(dims), step = strides(to);
  const index = new Int32Array(count(to));
  for (let i = 0; i < index.length; i++) {
    let at = 0;
    for (let d = lead; d < to.length; d++) {
      if (dims[d - lead] !== 1) at += (Math.floor(i / step[d]) % to[d]) * own[d - lead];
    }
    index[i] = at;
  }
  return index;
}

function together(a, b) {
  const rank = Math.max(a.length, b.length), pad = (x) => [...Array(rank - x.length).fill(1), ...x];
  const [p, q] = [pad(a), pad(b)];
  return p.map((d, i) => (d === 1 ? q[i] : d));
}

const pair = (f) => (node, [a, b]) => {
  const dims = together(a.dims, b.dims), i = broadcast(a.dims, dims), j = broadcast(b.dims, dims);
  const out = tensor(dims);
  for (let k = 0; k < out.data.length; k++) out.data[k] = f(Number(a.data[i[k]]), Number(b.data[j[k]]));
  return out;
};

function gather(dims, source, place) { // a tensor of `dims` whose element i is source[place(index of i)]
  const out = tensor(dims), step = strides(dims);
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = source[place(dims.map((d, k) => Math.floor(i / step[k]) % d))];
  }
  return out;
}

function transpose(x, perm) {
  const own = strides(x.dims);
  return gather(perm.map((p) => x.dims[p]), x.data, (at) => at.reduce((n, v, k) => n + v * own[perm[k]], 0));
}

function slice(x, starts, sizes, steps) {
  const own = strides(x.dims);
  return gather(sizes, x.data, (at) => at.reduce((n, v, k) => n + (starts[k] + v * steps[k]) * own[k], 0));
}

function product(a, b) { // (…, n, k) × (k, m) or of equal leading dimensions
  const [n, k] = a.dims.slice(-2), m = b.dims[b.dims.length - 1], lead = a.dims.slice(0, -2);
  const out = tensor([...lead, n, m]), many = b.dims.length > 2;
  for (let l = 0; l < count(lead); l++) for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) {
    let sum = 0;
    for (let c = 0; c < k; c++) sum += a.data[(l * n + i) * k + c] * b.data[((many ? l * k : 0) + c) * m + j];
    out.data[(l * n + i) * m + j] = sum;
  }
  return out;
}

function reduce(node, [x, given], f, start, end = (v) => v) {
  const rank = x.dims.length, axes = (given ? [...given.data].map(Number) : node.attrs.axes || x.dims.map((_, i) => i))
    .map((a) => axisOf(a, rank));
  const kept = x.dims.map((d, i) => (axes.includes(i) ? 1 : d)), out = tensor(kept), to = broadcast(kept, x.dims);
  out.data.fill(start);
  for (let i = 0; i < x.data.length; i++) out.data[to[i]] = f(out.data[to[i]], x.data[i]);
  const n = x.data.length / out.data.length;
  out.data = out.data.map((v) => end(v, n));
  return node.attrs.keepdims === 0 ? tensor(x.dims.filter((_, i) => !axes.includes(i)), out.data) : out;
}

const sigmoid = (v) => 1 / (1 + Math.exp(-v));
function erf(v) { // by its series where that is quick, else by a continued fraction of 1 − erf
  const x = Math.abs(v);
  if (x > 6) return Math.sign(v);
  if (x < 2.5) {
    let term = x, sum = x;
    for (let n = 1; n < 60; n++) { term *= -x * x / n; sum += term / (2 * n + 1); }
    return Math.sign(v) * sum * 2 / Math.sqrt(Math.PI);
  }
  let f = 0;
  for (let n = 60; n > 0; n--) f = n / 2 / (x + f);
  return Math.sign(v) * (1 - Math.exp(-x * x) / (x + f) / Math.sqrt(Math.PI));
}

const OPS = {
  Add: pair((a, b) => a + b), Sub: pair((a, b) => a - b), Mul: pair((a, b) => a * b), Div: pair((a, b) => a / b),
  Pow: pair(Math.pow), Max: pair(Math.max), Min: pair(Math.min),
  Greater: pair((a, b) => a > b), GreaterOrEqual: pair((a, b) => a >= b), Equal: pair((a, b) => a === b),
  Less: pair((a, b) => a < b), LessOrEqual: pair((a, b) => a <= b),
  And: pair((a, b) => a && b), Or: pair((a, b) => a || b), Not: map((v) => !v), IsNaN: map(Number.isNaN),
  Sign: map(Math.sign), Floor: map(Math.floor), Ceil: map(Math.ceil), Asinh: map(Math.asinh),
  Sigmoid: map(sigmoid), Tanh: map(Math.tanh), Relu: map((v) => Math.max(v, 0)), Exp: map(Math.exp), Log: map(Math.log),
  Sqrt: map(Math.sqrt), Neg: map((v) => -v), Abs: map(Math.abs), Reciprocal: map((v) => 1 / v), Erf: map(erf),
  Softplus: map((v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)))),
  Elu: (node, x) => map((v) => (v > 0 ? v : (node.attrs.alpha ?? 1) * Math.expm1(v)))(node, x),
  Gelu: map((v) => 0.5 * v * (1 + erf(v / Math.SQRT2))),
  Identity: (node, [x]) => x,
  Cast: (node, [x]) => { // to one of the types of floats, of truths, or of whole numbers
    const { to } = node.attrs;
    return [1, 10, 11, 16].includes(to) ? x : map(to === 9 ? (v) => v !== 0 : (v) => Math.trunc(Number(v)))(node, [x]);
  },
  Where: (node, [which, a, b]) => {
    const dims = together(which.dims, together(a.dims, b.dims)), out = tensor(dims);
    const [w, i, j] = [which, a, b].map((x) => broadcast(x.dims, dims));
    for (let k = 0; k < out.data.length; k++) out.data[k] = which.data[w[k]] ? a.data[i[k]] : b.data[j[k]];
    return out;
  },
  Clip: (node, [x, low, high]) => map((v) => Math.min(Math.max(v, low ? low.data[0] : -Infinity), high ? high.data[0] : Infinity))(node, [x]),
  Reshape: (node, [x, to]) => {
    const dims = [...to.data].map((d, i) => (Number(d) === 0 ? x.dims[i] : Number(d))), open = dims.indexOf(-1);
    if (open >= 0) dims[open] = x.data.length / -count(dims);
    return tensor(dims, x.data);
  },
  Flatten: (node, [x]) => tensor([x.dims[0], count(x.dims.slice(1))], x.data),
  Unsqueeze: (node, [x, axes]) => {
    const dims = [...x.dims], rank = dims.length + axes.data.length;
    [...axes.data].map((a) => axisOf(Number(a), rank)).sort((a, b) => a - b).forEach((a) => dims.splice(a, 0, 1));
    return tensor(dims, x.data);
  },
  Squeeze: (node, [x, axes]) => {
    const gone = axes ? [...axes.data].map((a) => axisOf(Number(a), x.dims.length)) : null;
    return tensor(x.dims.filter((d, i) => (gone ? !gone.includes(i) : d !== 1)), x.data);
  },
  Expand: (node, [x, to]) => {
    const dims = together(x.dims, [...to.data].map(Number)), from = broadcast(x.dims, dims);
    return tensor(dims, Float32Array.from(from, (i) => x.data[i]));
  },
  Transpose: (node, [x]) => transpose(x, node.attrs.perm || x.dims.map((_, i) => x.dims.length - 1 - i)),
  Concat: (node, parts) => {
    const axis = axisOf(node.attrs.axis, parts[0].dims.length), before = count(parts[0].dims.slice(0, axis));
    const dims = [...parts[0].dims];
    dims[axis] = parts.reduce((n, p) => n + p.dims[axis], 0);
    const out = tensor(dims), row = out.data.length / before;
    let start = 0;
    for (const part of parts) {
      const some = part.data.length / before;
      for (let i = 0; i < part.data.length; i++) out.data[Math.floor(i / some) * row + start + (i % some)] = part.data[i];
      start += some;
    }
    return out;
  },
  Split: (node, [x, sizes]) => {
    const axis = axisOf(node.attrs.axis ?? 0, x.dims.length), n = node.outputs.length;
    const each = sizes ? [...sizes.data].map(Number) : Array(n).fill(Math.ceil(x.dims[axis] / n));
    let start = 0;
    return each.map((size) => {
      const starts = x.dims.map((_, i) => (i === axis ? start : 0));
      start += size;
      return slice(x, starts, x.dims.map((d, i) => (i === axis ? size : d)), x.dims.map(() => 1));
    });
  },
  Slice: (node, [x, from, to, axes, by]) => {
    const starts = x.dims.map(() => 0), sizes = [...x.dims], steps = x.dims.map(() => 1);
    [...from.data].forEach((_, i) => {
      const a = axes ? axisOf(Number(axes.data[i]), x.dims.length) : i, d = x.dims[a], step = by ? Number(by.data[i]) : 1;
      const within = (v) => Math.min(Math.max(v < 0 ? v + d : v, 0), d);
      starts[a] = within(Number(from.data[i])); steps[a] = step;
      sizes[a] = Math.max(0, Math.ceil((within(Number(to.data[i])) - starts[a]) / step));
    });
    return slice(x, starts, sizes, steps);
  },
  Gather: (node, [x, which]) => {
    const axis = axisOf(node.attrs.axis ?? 0, x.dims.length), own = strides(x.dims), inner = strides(which.dims);
    const k = which.dims.length;
    return gather([...x.dims.slice(0, axis), ...which.dims, ...x.dims.slice(axis + 1)], x.data, (at) => {
      let pick = Number(which.data[at.slice(axis, axis + k).reduce((n, v, i) => n + v * inner[i], 0)]);
      if (pick < 0) pick += x.dims[axis];
      return [...at.slice(0, axis), pick, ...at.slice(axis + k)].reduce((n, v, i) => n + v * own[i], 0);
    });
  },
  GatherND: (node, [x, which]) => { // an index is the last axis of `which`, and is of the first axes of x
    const depth = which.dims[which.dims.length - 1], lead = which.dims.slice(0, -1), own = strides(x.dims), inner = strides(which.dims);
    return gather([...lead, ...x.dims.slice(depth)], x.data, (at) => {
      const base = lead.reduce((n, _, i) => n + at[i] * inner[i], 0), pick = (i) => Number(which.data[base + i]);
      const first = Array.from({ length: depth }, (_, i) => (pick(i) < 0 ? pick(i) + x.dims[i] : pick(i)));
      return [...first, ...at.slice(lead.length)].reduce((n, v, i) => n + v * own[i], 0);
    });
  },
  ScatterElements: (node, [x, which, from]) => {
    const axis = axisOf(node.attrs.axis ?? 0, x.dims.length), own = strides(x.dims), step = strides(which.dims);
    const out = tensor(x.dims, Float32Array.from(x.data));
    for (let i = 0; i < which.data.length; i++) {
      const pick = Number(which.data[i]), at = which.dims.map((d, k) => Math.floor(i / step[k]) % d);
      at[axis] = pick < 0 ? pick + x.dims[axis] : pick;
      out.data[at.reduce((n, v, k) => n + v * own[k], 0)] = from.data[i];
    }
    return out;
  },
  ScatterND: (node, [x, which, from]) => {
    const depth = which.dims[which.dims.length - 1], own = strides(x.dims), some = count(x.dims.slice(depth));
    const out = tensor(x.dims, Float32Array.from(x.data));
    for (let i = 0; i < count(which.dims.slice(0, -1)); i++) {
      let start = 0;
      for (let k = 0; k < depth; k++) {
        const pick = Number(which.data[i * depth + k]);
        start += (pick < 0 ? pick + x.dims[k] : pick) * own[k];
      }
      for (let k = 0; k < some; k++) out.data[start + k] = from.data[i * some + k];
    }
    return out;
  },
  ConstantOfShape: (node, [to]) => {
    const out = tensor([...to.data].map(Number));
    out.data.fill(node.attrs.value ? node.attrs.value[0] : 0);
    return out;
  },
  ArgMax: (node, [x]) => {
    const axis = axisOf(node.attrs.axis ?? 0, x.dims.length), own = strides(x.dims)[axis], d = x.dims[axis];
    const kept = x.dims.map((n, i) => (i === axis ? 1 : n)), out = tensor(kept);
    for (let i = 0; i < out.data.length; i++) {
      const start = Math.floor(i / own) * own * d + (i % own);
      let most = 0;
      for (let k = 1; k < d; k++) if (x.data[start + k * own] > x.data[start + most * own]) most = k;
      out.data[i] = most;
    }
    return node.attrs.keepdims === 0 ? tensor(x.dims.filter((_, i) => i !== axis), out.data) : out;
  },
  MatMul: (node, [a, b]) => { // a vector is a matrix of one row or column, which goes again
    const row = a.dims.length === 1, column = b.dims.length === 1;
    const out = product(row ? tensor([1, ...a.dims], a.data) : a, column ? tensor([...b.dims, 1], b.data) : b);
    const keep = out.dims.filter((_, i) => !(column && i === out.dims.length - 1) && !(row && i === out.dims.length - 2));
    return tensor(keep, out.data);
  },
  Gemm: (node, [a, b, c]) => {
    const { transA, transB, alpha = 1, beta = 1 } = node.attrs;
    const out = product(transA ? transpose(a, [1, 0]) : a, transB ? transpose(b, [1, 0]) : b);
    const bias = c && broadcast(c.dims, out.dims);
    out.data = out.data.map((v, i) => alpha * v + (c ? beta * c.data[bias[i]] : 0));
    return out;
  },
  Conv: (node, [x, w, b]) => {
    const [, , H, W] = x.dims, [outs, ins, kh, kw] = w.dims, { strides: [sy, sx] = [1, 1], group = 1 } = node.attrs;
    const { pads: [top, left, bottom, right] = [0, 0, 0, 0], dilations: [dy, dx] = [1, 1] } = node.attrs;
    const h = Math.floor((H + top + bottom - dy * (kh - 1) - 1) / sy) + 1;
    const v = Math.floor((W + left + right - dx * (kw - 1) - 1) / sx) + 1;
    const out = tensor([x.dims[0], outs, h, v]);
    for (let n = 0; n < x.dims[0]; n++) for (let o = 0; o < outs; o++) for (let i = 0; i < h; i++) for (let j = 0; j < v; j++) {
      let sum = b ? b.data[o] : 0;
      for (let c = 0; c < ins; c++) for (let p = 0; p < kh; p++) {
        const y = i * sy + p * dy - top;
        if (y < 0 || y >= H) continue;
        const row = ((n * x.dims[1] + Math.floor(o * group / outs) * ins + c) * H + y) * W, own = ((o * ins + c) * kh + p) * kw;
        for (let q = 0; q < kw; q++) {
          const at = j * sx + q * dx - left;
          if (at >= 0 && at < W) sum += x.data[row + at] * w.data[own + q];
        }
      }
      out.data[((n * outs + o) * h + i) * v + j] = sum;
    }
    return out;
  },
  DepthToSpace: (node, [x]) => {
    const [n, c, h, w] = x.dims, s = node.attrs.blocksize, d = c / (s * s), crd = node.attrs.mode === "CRD";
    const apart = tensor(crd ? [n, d, s, s, h, w] : [n, s, s, d, h, w], x.data);
    return tensor([n, d, h * s, w * s], transpose(apart, crd ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]).data);
  },
  ReduceSum: (node, xs) => reduce(node, xs, (a, b) => a + b, 0),
  ReduceMean: (node, xs) => reduce(node, xs, (a, b) => a + b, 0, (v, n) => v / n),
  ReduceMax: (node, xs) => reduce(node, xs, Math.max, -Infinity),
  ReduceL2: (node, xs) => reduce(node, xs, (a, b) => a + b * b, 0, Math.sqrt),
  ReduceLogSumExp: (node, [x, axes]) => {
    const most = OPS.ReduceMax({ attrs: { ...node.attrs, keepdims: 1 } }, [x, axes]);
    const sum = OPS.ReduceSum(node, [OPS.Exp(node, [OPS.Sub(node, [x, most])]), axes]);
    return tensor(sum.dims, sum.data.map((v, i) => Math.log(v) + most.data[i]));
  },
  Softmax: (node, [x]) => {
    const axes = tensor([1], [node.attrs.axis ?? -1]), flat = { attrs: {} };
    const e = OPS.Exp(flat, [OPS.Sub(flat, [x, OPS.ReduceMax(flat, [x, axes])])]);
    return OPS.Div(flat, [e, OPS.ReduceSum(flat, [e, axes])]);
  },
  LogSoftmax: (node, [x]) => {
    const [axes, flat] = [tensor([1], [node.attrs.axis ?? -1]), { attrs: {} }];
    return OPS.Sub(flat, [x, OPS.ReduceLogSumExp(flat, [x, axes])]);
  },
  LayerNormalization: (node, [x, scale, bias]) => {
    const axes = tensor([1], [node.attrs.axis ?? -1]), flat = { attrs: {} };
    const off = OPS.Sub(flat, [x, OPS.ReduceMean(flat, [x, axes])]);
    const spread = OPS.ReduceMean(flat, [OPS.Mul(flat, [off, off]), axes]);
    const root = map((v) => 1 / Math.sqrt(v + (node.attrs.epsilon ?? 1e-5)))(flat, [spread]);
    const out = OPS.Mul(flat, [OPS.Mul(flat, [off, root]), scale]);
    return bias ? OPS.Add(flat, [out, bias]) : out;
  },
};

function load(model) {
  const weights = {};
  for (const [name, { dims, base64, values }] of Object.entries(model.weights)) {
    const bytes = base64 && Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    weights[name] = tensor(dims, bytes ? new Float32Array(bytes.buffer) : values);
  }
  return weights;
}

function decode(model, weights, ...given) { // z, and the condition where there is one
  const known = { ...weights };
  model.inputs.forEach((name, i) => { known[name] = tensor([1, given[i].length], Float32Array.from(given[i])); });
  for (const node of model.nodes) {
    const out = OPS[node.op](node, node.inputs.map((name) => known[name]));
    (Array.isArray(out) ? out : [out]).forEach((each, i) => { known[node.outputs[i]] = each; });
  }
  return known[model.output];
}
