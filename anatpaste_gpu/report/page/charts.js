// Histogram and ROC curve as SVG in the page's colours.
const SVG = 'http://www.w3.org/2000/svg';

function shape(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function canvas(place, width, height, label) {
  place.replaceChildren();
  return shape('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label }, place);
}

// Normal images grow upwards from the middle line, abnormal ones downwards: neither hides the other.
function drawHistogram(place, labels, scores, range, move) {
  // Few units across on a narrow screen, so that the text stays as large as the page's.
  const width = Math.min(560, Math.max(320, place.clientWidth)), height = 300, left = 40, right = 10, middle = 140, room = 112, bins = 40;
  const svg = canvas(place, width, height, 'Histogram of the scores of normal and abnormal images');
  const x = (score) => left + (score - range.low) / (range.high - range.low) * (width - left - right);
  const counts = [new Array(bins).fill(0), new Array(bins).fill(0)];
  scores.forEach((score, index) => {
    const bin = Math.floor((score - range.low) / (range.high - range.low) * bins);
    counts[labels[index]][Math.min(bins - 1, Math.max(0, bin))] += 1;
  });
  const most = Math.max(...counts.flat(), 1);
  const step = (width - left - right) / bins;
  counts.forEach((own, kind) => own.forEach((count, bin) => {
    const tall = count / most * room;
    const y = kind ? middle + 1 : middle - 1 - tall;
    if (count) shape('rect', { x: left + bin * step + 0.5, y, width: step - 1, height: tall, class: `${KINDS[kind]}-bar` }, svg);
  }));
  shape('line', { x1: left, x2: width - right, y1: middle, y2: middle, class: 'axis' }, svg);
  KINDS.forEach((name, kind) => {
    const total = labels.filter((label) => label === kind).length;
    shape('text', { x: width - right, y: kind ? middle + room : middle - room + 8, 'text-anchor': 'end', class: `${name}-text` }, svg, `${name} (${total})`);
    shape('text', { x: left - 6, y: kind ? middle + room : middle - room + 8, 'text-anchor': 'end' }, svg, most);
  });
  shape('text', { x: 12, y: middle, 'text-anchor': 'middle', transform: `rotate(-90 12 ${middle})` }, svg, 'images');
  for (const { value, text } of ticks(range.low, range.high, 5)) {
    shape('line', { x1: x(value), x2: x(value), y1: height - 32, y2: height - 28, class: 'axis' }, svg);
    shape('text', { x: x(value), y: height - 17, 'text-anchor': x(value) > width - 20 ? 'end' : 'middle' }, svg, text);
  }
  shape('text', { x: (left + width) / 2, y: height - 4, 'text-anchor': 'middle' }, svg, 'anomaly score, normalised');
  const mark = shape('line', { y1: 6, y2: height - 30, class: 'mark' }, svg);
  const grip = shape('circle', { cy: middle, r: 6, class: 'grip' }, svg);
  const toScore = (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * width - left) / (width - left - right);
    return range.low + Math.min(1, Math.max(0, share)) * (range.high - range.low);
  };
  svg.addEventListener('pointerdown', (event) => { svg.setPointerCapture(event.pointerId); move(toScore(event)); });
  svg.addEventListener('pointermove', (event) => { if (event.buttons & 1) move(toScore(event)); });
  return (threshold) => {
    mark.setAttribute('x1', x(threshold));
    mark.setAttribute('x2', x(threshold));
    grip.setAttribute('cx', x(threshold));
  };
}

function drawRoc(place, labels, scores) {
  const side = 300, left = 44, bottom = 34, room = side - left - 10;
  const svg = canvas(place, side, side, 'ROC curve');
  const x = (rate) => left + rate * room;
  const y = (rate) => side - bottom - rate * (side - bottom - 10);
  shape('line', { x1: x(0), x2: x(1), y1: y(0), y2: y(0), class: 'axis' }, svg);
  shape('line', { x1: x(0), x2: x(0), y1: y(0), y2: y(1), class: 'axis' }, svg);
  shape('line', { x1: x(0), x2: x(1), y1: y(0), y2: y(1), class: 'chance' }, svg);
  const path = rocPoints(labels, scores).map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(' ');
  shape('polyline', { points: path, class: 'curve' }, svg);
  for (const rate of [0, 0.5, 1]) {
    shape('text', { x: x(rate), y: side - bottom + 14, 'text-anchor': rate === 1 ? 'end' : 'middle' }, svg, rate);
    shape('text', { x: left - 5, y: y(rate) + 4, 'text-anchor': 'end' }, svg, rate);
  }
  shape('text', { x: x(0.5), y: side - 4, 'text-anchor': 'middle' }, svg, '1 - specificity');
  shape('text', { x: 10, y: y(0.5), 'text-anchor': 'middle', transform: `rotate(-90 10 ${y(0.5)})` }, svg, 'sensitivity');
  const dot = shape('circle', { r: 6, class: 'grip' }, svg);
  return ({ tn, fp, fn, tp }) => {
    dot.setAttribute('cx', x(fp / (fp + tn)));
    dot.setAttribute('cy', y(tp / (tp + fn)));
  };
}
