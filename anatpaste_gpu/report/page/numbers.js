// Counts and rates at a threshold; the same definitions as in anatpaste_gpu.evaluation.metrics.
const KINDS = ['normal', 'abnormal'];

function confusion(labels, scores, threshold) {
  const counts = { tn: 0, fp: 0, fn: 0, tp: 0 };
  labels.forEach((label, index) => {
    const called = scores[index] >= threshold;
    counts[label ? (called ? 'tp' : 'fn') : (called ? 'fp' : 'tn')] += 1;
  });
  return counts;
}

function rates({ tn, fp, fn, tp }) {
  return {
    'Sensitivity': tp / (tp + fn),
    'Specificity': tn / (tn + fp),
    'Accuracy': (tp + tn) / (tp + tn + fp + fn),
    'F1': tp + fn ? 2 * tp / (2 * tp + fp + fn) : NaN,
    'Positive predictive value': tp + fp ? tp / (tp + fp) : NaN,
    'Negative predictive value': tn + fn ? tn / (tn + fn) : NaN,
  };
}

// Points of the ROC curve from (0, 0) to (1, 1), tied scores as one step.
function rocPoints(labels, scores) {
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a]);
  const positives = labels.reduce((sum, label) => sum + label, 0);
  const negatives = labels.length - positives;
  const points = [[0, 0]];
  let hits = 0, alarms = 0;
  order.forEach((index, place) => {
    if (labels[index]) hits += 1; else alarms += 1;
    const next = order[place + 1];
    if (next === undefined || scores[next] !== scores[index]) points.push([alarms / negatives, hits / positives]);
  });
  return points;
}

// How many normal images score below, of how many.
function normalsBelow(labels, scores, score) {
  const normals = scores.filter((_, index) => !labels[index]);
  return { below: normals.filter((value) => value < score).length, normals: normals.length };
}

const percent = (share) => Number.isNaN(share) ? 'none' : `${(100 * share).toFixed(1)} %`;

// Multiples of 1, 2 or 5 times a power of ten inside a range, about `wanted` of them.
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const first = Math.ceil(low / step), last = Math.floor(high / step);
  return Array.from({ length: last - first + 1 }, (_, place) => ({ value: (first + place) * step, text: ((first + place) * step).toFixed(digits) }));
}
