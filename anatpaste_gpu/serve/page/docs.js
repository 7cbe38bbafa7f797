// Draws openapi.json as headings, lists and tables, without anything from elsewhere.
(() => {
  'use strict';
  const main = document.getElementById('paths');

  function add(parent, kind, text = '') {
    const made = document.createElement(kind);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function type(schema) {
    if (schema.$ref) return schema.$ref.split('/').pop();
    if (schema.anyOf) return schema.anyOf.map(type).join(' or ');
    if (schema.type === 'array') return `list of ${type(schema.items)}`;
    return schema.format ? `${schema.type} (${schema.format})` : schema.type;
  }

  function table(heading, names, rows) {
    const made = add(main, 'table');
    add(made, 'caption', heading);
    const head = add(add(made, 'thead'), 'tr');
    for (const name of names) add(head, 'th', name).scope = 'col';
    const body = add(made, 'tbody');
    for (const [first, ...others] of rows) {
      const row = add(body, 'tr');
      add(row, 'th', first).scope = 'row';
      for (const text of others) add(row, 'td', text);
    }
  }

  function showPath(path, method, what) {
    add(main, 'h2', `${method.toUpperCase()} ${path}: ${what.summary}`);
    add(main, 'p', what.description ?? '');
    const parameters = (what.parameters ?? []).map(({ name, in: place, schema }) =>
      [name, `${place}, ${(schema.enum ?? [type(schema)]).join(', ')}`, `default ${schema.default}`]);
    for (const [kind, { schema }] of Object.entries(what.requestBody?.content ?? {})) {
      for (const [name, one] of Object.entries(schema.properties)) parameters.push([name, `${kind}, ${type(one)}`, one.description]);
    }
    if (parameters.length) table('Takes', ['Name', 'Where and what', ''], parameters);
    table('Answers', ['Status', 'Meaning'], Object.entries(what.responses).map(([status, one]) => [status, one.description]));
  }

  fetch('openapi.json').then((response) => response.json()).then((described) => {
    for (const [path, methods] of Object.entries(described.paths)) {
      for (const [method, what] of Object.entries(methods)) showPath(path, method, what);
    }
    add(main, 'h2', 'What answers hold');
    for (const [name, { properties, description }] of Object.entries(described.components.schemas)) {
      if (properties) {
        table(`${name}: ${description ?? ''}`, ['Name', 'Type', 'Meaning'],
          Object.entries(properties).map(([key, one]) => [key, type(one), one.description ?? '']));
      }
    }
  });
})();
