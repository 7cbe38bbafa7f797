// Ties threshold, charts and table of each test set together.
class CohortView {
  constructor(section, cohort, viewer) {
    this.cohort = cohort;
    this.find = (role) => section.querySelector(`[data-role="${role}"]`);
    this.table = new CaseTable(section, cohort, (index) => viewer.open(this, index));
    this.slider = this.find('threshold');
    this.slider.addEventListener('input', () => this.setThreshold(Number(this.slider.value)));
    this.find('run').addEventListener('change', (event) => this.setRun(Number(event.target.value)));
    this.find('run').value = 0;
    this.setRun(0);
  }

  setRun(number) {
    const { labels, runs } = this.cohort;
    this.run = runs[number];
    const values = [...this.run.scores, ...this.run.thresholds.map(([, value]) => value)];
    const low = Math.min(...values), high = Math.max(...values), edge = (high - low || 1) / 50;
    this.range = { low: low - edge, high: high + edge };
    Object.assign(this.slider, { min: this.range.low, max: this.range.high, step: (this.range.high - this.range.low) / 1000 });
    this.markHistogram = drawHistogram(this.find('histogram'), labels, this.run.scores, this.range, (score) => this.setThreshold(score));
    // There is none where the test set has no abnormal images.
    const roc = this.find('roc');
    this.markRoc = roc ? drawRoc(roc, labels, this.run.scores) : () => {};
    this.presets = this.run.thresholds.map(([name, value]) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = name;
      button.addEventListener('click', () => this.setThreshold(value));
      return { button, value };
    });
    this.find('presets').replaceChildren(...this.presets.map(({ button }) => button));
    this.find('run-title').textContent = this.run.title;
    this.setThreshold(this.presets[0].value);
  }

  setThreshold(threshold) {
    this.threshold = threshold;
    this.slider.value = threshold;
    this.slider.setAttribute('aria-valuetext', threshold.toFixed(3));
    this.find('value').textContent = threshold.toFixed(3);
    this.find('at').textContent = threshold.toFixed(3);
    for (const { button, value } of this.presets) button.setAttribute('aria-pressed', String(value === threshold));
    const counts = confusion(this.cohort.labels, this.run.scores, threshold);
    const shares = rates(counts);
    for (const [role, count] of Object.entries(counts)) this.find(role).textContent = count;
    this.find('rates').replaceChildren(...Object.entries(shares).flatMap(([name, share]) => {
      const term = document.createElement('dt'), value = document.createElement('dd');
      term.textContent = name;
      value.textContent = name === 'F1' && !Number.isNaN(share) ? share.toFixed(3) : percent(share);
      value.dataset.rate = name;
      return [term, value];
    }));
    this.find('summary').textContent =
      `Threshold ${threshold.toFixed(3)}: sensitivity ${percent(shares.Sensitivity)}, specificity ${percent(shares.Specificity)}.`;
    this.markHistogram(threshold);
    this.markRoc(counts);
    this.table.update(this.run.scores, threshold, this.range);
  }
}

for (const choice of document.querySelectorAll('input[name="theme"]')) {
  choice.addEventListener('change', () => { document.documentElement.dataset.theme = choice.value; });
}
const viewer = new Viewer(document.getElementById('viewer'));
JSON.parse(document.getElementById('data').textContent).forEach((cohort, number) => {
  new CohortView(document.querySelector(`[data-cohort="${number}"]`), cohort, viewer);
});
