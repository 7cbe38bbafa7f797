// The case table: decisions at the current threshold, sorting and filtering.
const WORDS = new Intl.Collator('en', { numeric: true });

class CaseTable {
  constructor(section, cohort, open) {
    this.cohort = cohort;
    this.find = (role) => section.querySelector(`[data-role="${role}"]`);
    this.table = this.find('cases');
    this.body = this.table.tBodies[0];
    this.rows = [...this.body.rows].map((row) => ({
      row, index: Number(row.dataset.index),
      cells: Object.fromEntries([...row.querySelectorAll('[data-cell]')].map((cell) => [cell.dataset.cell, cell])),
    }));
    this.key = 'score';
    this.ascending = false;
    for (const heading of this.table.querySelectorAll('th[data-key]')) {
      heading.querySelector('button').addEventListener('click', () => this.sortBy(heading.dataset.key));
    }
    this.body.addEventListener('click', (event) => {
      const row = event.target.closest('tr');
      if (row) open(Number(row.dataset.index));
    });
    this.find('filter').addEventListener('change', () => this.filter());
    this.find('search').addEventListener('input', () => this.filter());
    this.find('gallery')?.addEventListener('change', (event) => {
      this.table.classList.toggle('as-gallery', event.target.checked);
    });
  }

  // Scores of another run, or the same ones at another threshold.
  update(scores, threshold, range) {
    const moved = this.scores !== scores;
    this.scores = scores;
    this.threshold = threshold;
    for (const { row, index, cells } of this.rows) {
      const called = scores[index] >= threshold ? 1 : 0;
      const right = called === this.cohort.labels[index];
      if (moved) {
        cells.score.textContent = scores[index].toFixed(3);
        const share = (scores[index] - range.low) / (range.high - range.low);
        cells.score.parentNode.style.setProperty('--share', `${(100 * share).toFixed(1)}%`);
      }
      cells.decision.textContent = KINDS[called];
      cells.result.textContent = right ? 'right' : 'wrong';
      row.className = right ? 'right' : 'wrong';
    }
    if (moved || this.key === 'decision' || this.key === 'right') this.arrange();
    this.filter();
  }

  value(index) {
    const called = this.scores[index] >= this.threshold ? 1 : 0;
    const label = this.cohort.labels[index];
    return { name: this.cohort.names[index], label, score: this.scores[index], decision: called, right: Number(called === label) };
  }

  sortBy(key) {
    this.ascending = this.key === key ? !this.ascending : key === 'name' || key === 'right';
    this.key = key;
    for (const heading of this.table.querySelectorAll('th[data-key]')) {
      if (heading.dataset.key === key) heading.setAttribute('aria-sort', this.ascending ? 'ascending' : 'descending');
      else heading.removeAttribute('aria-sort');
    }
    this.arrange();
  }

  arrange() {
    const sign = this.ascending ? 1 : -1;
    const order = this.rows.map((entry) => [this.value(entry.index), entry]);
    order.sort(([a], [b]) => {
      const first = this.key === 'name' ? WORDS.compare(a.name, b.name) : a[this.key] - b[this.key];
      return sign * first || b.score - a.score || WORDS.compare(a.name, b.name);
    });
    this.rows = order.map(([, entry]) => entry);
    this.body.append(...this.rows.map(({ row }) => row));
  }

  filter() {
    const wanted = this.find('filter').value;
    const part = this.find('search').value.trim().toLowerCase();
    const keep = {
      all: () => true, wrong: (v) => !v.right, right: (v) => v.right, normal: (v) => !v.label, abnormal: (v) => v.label,
      fn: (v) => v.label && !v.decision, fp: (v) => !v.label && v.decision,
    }[wanted];
    let shown = 0;
    for (const { row, index } of this.rows) {
      const value = this.value(index);
      row.hidden = !(keep(value) && value.name.toLowerCase().includes(part));
      shown += row.hidden ? 0 : 1;
    }
    this.find('count').textContent = `${shown} of ${this.rows.length} cases`;
  }

  // Indices of the rows that show, in the table's order.
  shown() {
    return this.rows.filter(({ row }) => !row.hidden).map(({ index }) => index);
  }

  picture(index) {
    const image = this.rows.find((entry) => entry.index === index).row.querySelector('img');
    return image ? image.src : null;
  }

  focus(index) {
    this.rows.find((entry) => entry.index === index).row.querySelector('[data-role="open"]').focus();
  }
}
