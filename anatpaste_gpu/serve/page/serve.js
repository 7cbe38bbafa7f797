// Sends dropped files one after the other and shows what comes back; texts of files are never taken as HTML.
(() => {
  'use strict';
  const find = (id) => document.getElementById(id);
  const rows = find('rows'), status = find('status');
  let health = null;
  let work = Promise.resolve();

  function cell(kind, text, name = '') {
    const made = document.createElement(kind);
    made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  function addRow(name) {
    const row = document.createElement('tr');
    const heading = cell('th', name);
    heading.scope = 'row';
    row.append(heading, cell('td', 'waiting'));
    rows.append(row);
    return row;
  }

  function fill(row, ...cells) {
    row.replaceChildren(row.firstChild, ...cells);
  }

  function showError(row, sentence) {
    const told = cell('td', sentence, 'error');
    told.colSpan = 5;
    fill(row, told);
  }

  function showResult(row, image) {
    if (image.score === undefined) return showError(row, image.error);
    const called = image.decision ? 'abnormal' : 'normal';
    const heat = document.createElement('td');
    if (image.heat_map) {
      const picture = document.createElement('img');
      picture.alt = `Heat map over ${image.name}`;
      picture.src = `data:image/png;base64,${image.heat_map.png}`;
      heat.append(picture);
      find('scale').hidden = false;
    }
    fill(row, cell('td', image.score.toFixed(4)), cell('td', image.threshold.toFixed(4)),
      cell('td', image.normalised_score.toFixed(3)), cell('td', called, called), heat);
  }

  async function score(file, row) {
    if (health && file.size > health.limits.request_bytes) {
      return showError(row, `It has ${file.size} bytes, of ${health.limits.request_bytes} at most.`);
    }
    const form = new FormData();
    form.append('files', file);
    const headers = find('token').value ? { Authorization: `Bearer ${find('token').value}` } : {};
    const kind = find('heat').checked && !find('heat').disabled ? 'overlay' : 'none';
    try {
      const response = await fetch(`score?heat_map=${kind}`, { method: 'POST', body: form, headers });
      const answer = await response.json();
      if (answer.images) showResult(row, answer.images[0]); else showError(row, answer.error);
    } catch {
      showError(row, 'The service does not answer.');
    }
  }

  function take(files) {
    for (const file of files) {
      const row = addRow(file.name);
      work = work.then(() => {
        status.textContent = `Scoring ${file.name}`;
        return score(file, row);
      });
    }
    work = work.then(() => { status.textContent = 'Done.'; });
  }

  const drop = find('drop');
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
    });
  }
  drop.addEventListener('drop', (event) => take(event.dataTransfer.files));
  find('files').addEventListener('change', (event) => {
    take([...event.target.files]);
    event.target.value = '';
  });
  find('clear').addEventListener('click', () => {
    rows.replaceChildren();
    status.textContent = '';
    find('scale').hidden = true;
  });
  find('form').addEventListener('submit', (event) => event.preventDefault());

  fetch('health').then((response) => response.json()).then((answer) => {
    health = answer;
    find('token-label').hidden = !health.token;
    find('heat').disabled = !health.heat_maps;
    find('about').textContent =
      `anatpaste_gpu ${health.version}, method ${health.method}, model ${health.model.slice(0, 12)}. ${health.notice}`;
  }).catch(() => { status.textContent = 'The service does not answer.'; });
})();
