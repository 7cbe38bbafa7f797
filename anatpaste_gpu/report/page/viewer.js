// One case in a dialog: radiograph, heat map over it, score and decision.
// Stops of a colour map, violet to yellow: no stop is grey, and lightness grows with the value.
const HEAT = [[60, 20, 140], [130, 20, 140], [200, 30, 110], [240, 70, 40], [255, 140, 0], [255, 225, 30]];

function heat(share) {
  const place = share * (HEAT.length - 1);
  const low = Math.min(HEAT.length - 2, Math.floor(place));
  return HEAT[low].map((from, channel) => from + (HEAT[low + 1][channel] - from) * (place - low));
}

class Viewer {
  constructor(dialog) {
    this.dialog = dialog;
    this.find = (role) => dialog.querySelector(`[data-role="${role}"]`);
    this.find('close').addEventListener('click', () => dialog.close());
    this.find('previous').addEventListener('click', () => this.step(-1));
    this.find('next').addEventListener('click', () => this.step(1));
    this.find('reset').addEventListener('click', () => this.reset());
    for (const role of ['opacity', 'brightness', 'contrast', 'invert']) this.find(role).addEventListener('input', () => this.adjust());
    dialog.addEventListener('keydown', (event) => {
      // Arrow keys on a slider move the slider.
      if (event.target.type === 'range') return;
      if (event.key === 'ArrowLeft') this.step(-1);
      if (event.key === 'ArrowRight') this.step(1);
    });
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => this.view.table.focus(this.index));
  }

  open(view, index) {
    this.view = view;
    this.show(index);
    this.adjust();
    this.dialog.showModal();
  }

  step(by) {
    const shown = this.view.table.shown();
    const place = shown.indexOf(this.index) + by;
    if (place >= 0 && place < shown.length) this.show(shown[place]);
  }

  show(index) {
    const { cohort, run, table, threshold } = this.view;
    this.index = index;
    const value = table.value(index);
    document.getElementById('viewer-title').textContent = value.name;
    const { below, normals } = normalsBelow(cohort.labels, run.scores, value.score);
    const findings = cohort.findings[index];
    this.find('verdict').replaceChildren(...Object.entries({
      'Truth': KINDS[value.label] + (findings.length ? `: ${findings.join(', ')}` : ''),
      'Called': `${KINDS[value.decision]}, ${value.right ? '✓ right' : '✗ wrong'}`,
      'Score': `${value.score.toFixed(3)} (threshold ${threshold.toFixed(3)})`,
      'Higher than': `${below} of ${normals} normal test images`,
      'Run': run.title,
    }).map(([term, text]) => {
      const pair = document.createElement('div'), name = document.createElement('dt'), own = document.createElement('dd');
      name.textContent = term;
      own.textContent = text;
      if (term === 'Called') own.className = value.right ? 'right' : 'wrong';
      pair.append(name, own);
      return pair;
    }));
    const picture = table.picture(index);
    this.dialog.classList.toggle('no-image', !picture);
    this.dialog.classList.toggle('no-map', !run.heatmaps);
    if (picture) {
      this.find('image').src = picture;
      this.find('image').alt = `Radiograph ${value.name}`;
      this.find('under').src = picture;
    }
    if (run.heatmaps) this.drawMap(run.heatmaps, index);
  }

  drawMap({ title, shape: [height, width], bytes }, index) {
    this.find('map-caption').textContent =
      `${title}: what raised the score. ${height} × ${width} cells, enlarged; each map has its own scale.`;
    this.decoded = this.decoded ?? new Map();
    if (!this.decoded.has(bytes)) this.decoded.set(bytes, Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)));
    const own = this.decoded.get(bytes).subarray(index * height * width, (index + 1) * height * width);
    const map = this.find('map');
    map.width = width;
    map.height = height;
    const context = map.getContext('2d');
    const pixels = context.createImageData(width, height);
    own.forEach((value, place) => pixels.data.set([...heat(value / 255), value], 4 * place));
    // As many canvas pixels as cells: the browser's own interpolation enlarges it smoothly.
    context.putImageData(pixels, 0, 0);
  }

  adjust() {
    const filter = `brightness(${this.find('brightness').value}) contrast(${this.find('contrast').value})`;
    const whole = filter + (this.find('invert').checked ? ' invert(1)' : '');
    this.find('image').style.filter = whole;
    this.find('under').style.filter = whole;
    this.find('map').style.opacity = this.find('opacity').value;
  }

  reset() {
    for (const [role, value] of [['opacity', 0.6], ['brightness', 1], ['contrast', 1]]) this.find(role).value = value;
    this.find('invert').checked = false;
    this.adjust();
  }
}
