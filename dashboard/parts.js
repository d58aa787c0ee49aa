'use strict';

// Parts that several views use.

/** Icons by kind. Each has its own shape, so nobody has to tell them apart by colour. */
const ICONS = {
  good: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.4 5.2-4 4.4a.8.8 0 0 1-1.2 0l-1.7-1.8 1.1-1.1 1.2 1.2 3.4-3.8Z',
  bad: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm2.9 8.8-1.1 1.1L8 9.1l-1.8 1.8-1.1-1.1L6.9 8 5.1 6.2l1.1-1.1L8 6.9l1.8-1.8 1.1 1.1L9.1 8Z',
  warn: 'M7.1 1.9 1.2 12.5c-.4.7.1 1.5.9 1.5h11.8c.8 0 1.3-.8.9-1.5L8.9 1.9a1 1 0 0 0-1.8 0ZM7.2 5.5h1.6v4H7.2Zm0 5.2h1.6v1.6H7.2Z',
  waiting:
    'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.6a5.4 5.4 0 1 1 0 10.8A5.4 5.4 0 0 1 8 2.6Zm-.8 1.9v3.9l2.9 1.8.8-1.3-2.1-1.3V4.5Z',
  paused: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM5.4 5h1.7v6H5.4Zm3.5 0h1.7v6H8.9Z',
  open: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.6a5.4 5.4 0 1 1 0 10.8A5.4 5.4 0 0 1 8 2.6Z',
  idle: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.6a5.4 5.4 0 1 1 0 10.8A5.4 5.4 0 0 1 8 2.6Z',
  done: 'M13.6 4.2 6.4 12.3a.9.9 0 0 1-1.3 0L2.3 9.4l1.2-1.2 2.2 2.3 6.6-7.4Z',
  unsure: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM4.6 7.2h6.8v1.6H4.6Z',
};

function icon(kind) {
  const shape = svg('path', { d: ICONS[kind], 'fill-rule': 'evenodd' });
  return svg('svg.icon', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, shape);
}

/** A state: an icon and a word. */
function badge(kind, text) {
  return h(`span.badge.${kind}`, icon(kind), text);
}

const BADGES = {
  active: 'good',
  paused: 'paused',
  pending: 'waiting',
  disabled: 'paused',
  expired: 'unsure',
  revoked: 'bad',
  in_progress: 'open',
  completed: 'done',
  failed: 'bad',
  canceled: 'paused',
  queued: 'waiting',
  ended: 'done',
  passed: 'good',
  inconclusive: 'unsure',
};

const statusBadge = (status) => badge(BADGES[status] ?? 'open', plain(status));

/** A relative time, such as `2 hours ago`, with the exact one as its tooltip; `without` if there is no time. */
function time(text, without = '—') {
  if (!text) return h('span.muted.whole', without);
  return h(
    'time',
    { datetime: text, title: `${DATE_AND_TIME.format(new Date(text))} (${text})` },
    fromNow(text),
  );
}

/** A date and time, and the relative time beside it; `without` if there is no time. */
function fullTime(text, without = '—') {
  if (!text) return h('span.muted', without);
  const moment = h('time', { datetime: text, title: text }, DATE_AND_TIME.format(new Date(text)));
  return [moment, ' ', h('span.muted', `(${fromNow(text)})`)];
}

const code = (text) => h('code', text);

/** A message of the API. Text between backticks becomes code. */
const prose = (text) => text.split('`').map((part, index) => (index % 2 === 1 ? code(part) : part));

const link = (href, ...content) => h('a', { href }, ...content);

const button = (text, click, kind = '') => h(`button${kind && `.${kind}`}`, { type: 'button', click }, text);

/** A link that looks like a button. */
const linkButton = (href, text, kind = '') => h(`a.button${kind && `.${kind}`}`, { href }, text);

/** The head of a view: its title, a remark below it, buttons beside it, and a link above it. */
function heading(title, { about = null, actions = [], above = null } = {}) {
  return h(
    'div.heading',
    above && h('p.above', above),
    h('div.heading-line', h('h1', title), actions.length > 0 && h('div.actions', actions)),
    about && h('p.about', about),
  );
}

/** A list of terms and values. Pairs without a value are left out. `short` ones stand in two columns if there is room. */
function facts(pairs, { short = false } = {}) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  return h(
    short ? 'dl.facts.short' : 'dl.facts',
    shown.map(([term, value]) => h('div', h('dt', term), h('dd', value))),
  );
}

/**
 * A table, which becomes a list of cards on a narrow screen. The first column names the row. Roles are explicit because
 * browsers drop the roles of table elements that CSS lays out as blocks.
 */
function table({ caption, columns, rows, empty }) {
  if (rows.length === 0) return h('p.empty', empty);
  const head = columns.map((name) => h('th', { role: 'columnheader', scope: 'col' }, name));
  const row = (cells) =>
    h(
      'tr',
      { role: 'row' },
      cells.map((cell, index) =>
        index === 0
          ? h('th', { role: 'rowheader', scope: 'row' }, h('div', cell))
          : h('td', { role: 'cell', 'data-label': columns[index] }, h('div', cell)),
      ),
    );
  return h(
    'table',
    { role: 'table' },
    h('caption.hidden', caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    h('tbody', { role: 'rowgroup' }, rows.map(row)),
  );
}

const PAGE_SIZE = 20;

/** The position in the list at which the page starts, as the address has it. */
const offsetOf = (query) => Math.max(0, Number.parseInt(query.get('offset'), 10) || 0);

/**
 * Cursors of pages by the address of the page. A cursor keeps its place when rows are inserted, an offset does not. Cursors
 * stay out of the address, where they would look like a key that was pasted.
 */
const cursors = new Map();

/** The query of the page that the address names. */
function pageQuery(context) {
  const offset = offsetOf(context.query);
  const cursor = offset > 0 && cursors.get(context.address({}));
  return { limit: PAGE_SIZE, ...(cursor ? { cursor } : { offset: offset || null }) };
}

/** Links to the page before and the page after. A page may have fewer rows than were asked for. */
function pager(context, page, noun, plural) {
  const offset = offsetOf(context.query);
  const received = page.data.length;
  if (offset === 0 && !page.has_more) {
    return received > 1 ? h('p.pager', h('span.muted', count(received, noun, plural))) : null;
  }
  const next = offset + received;
  if (page.next_cursor) cursors.set(context.address({ offset: next }), page.next_cursor);
  const to = (target, id, text) =>
    h('a.button', { id, href: context.address({ offset: target || null }) }, text);
  return h(
    'nav.pager',
    { 'aria-label': 'Pages' },
    offset > 0 && to(Math.max(0, offset - PAGE_SIZE), 'previous', 'Previous'),
    h('span.muted', received > 0 ? `${offset + 1} to ${offset + received}` : 'No more entries'),
    page.has_more && received > 0 && to(next, 'next', 'Next'),
  );
}

/** An error of the API: its message, a next step, and the request id, which finds it in the server's log. */
function problem(error, again = null) {
  if (!(error instanceof ApiError)) throw error;
  const what = advice(error);
  return h(
    'div.problem',
    { role: 'alert' },
    icon('warn'),
    h(
      'div',
      h('p', h('strong', prose(`${sentence(error.message)}.`)), what && ` ${what}`),
      error.requestId && h('p.small.muted', 'Request ', code(error.requestId)),
      again && isPassing(error) && button('Try again', again),
    ),
  );
}

/** A remark with a warning icon. */
const warning = (...content) => h('p.warning', icon('warn'), h('span', ...content));

/** A form field: label, hint, control, and a place for an error. `pointers` name the body's members that it fills. */
function field({ label, control, hint = null, pointers = [] }) {
  control.id ||= freshId('field');
  const about = hint && h('p.hint', { id: `${control.id}-hint` }, hint);
  const wrong = h('p.wrong', { id: `${control.id}-wrong`, hidden: true });
  control.setAttribute('aria-describedby', [about?.id, wrong.id].filter(Boolean).join(' '));
  return h(
    'div.field',
    { 'data-pointers': pointers.join(' ') },
    h('label', { for: control.id }, label),
    about,
    control,
    wrong,
  );
}

/** A group of controls under a legend. Otherwise the same as `field`. */
function group({ legend, hint = null, pointers = [] }, ...content) {
  const id = freshId('group');
  return h(
    'fieldset.field',
    { id, 'data-pointers': pointers.join(' '), 'aria-describedby': `${id}-wrong` },
    h('legend', legend),
    hint && h('p.hint', hint),
    content,
    h('p.wrong', { id: `${id}-wrong`, hidden: true }),
  );
}

/** A radio button with its label. */
function choice(name, value, label, { checked = false, disabled = false, hint = null } = {}) {
  const id = freshId(name);
  return h(
    'div.choice',
    h('input', {
      type: 'radio',
      id,
      name,
      value,
      checked,
      disabled,
      'aria-describedby': hint && `${id}-hint`,
    }),
    h('label', { for: id }, label),
    hint && h('span.hint', { id: `${id}-hint` }, hint),
  );
}

/** Shows errors, `[pointer, message]`, at their fields and focuses the first. Returns the errors that have no field. */
function showWrong(form, wrongs) {
  clearWrong(form);
  const homeless = [];
  let first = null;
  for (const [pointer, words] of wrongs) {
    const fields = Array.from(form.querySelectorAll('[data-pointers]'));
    const home = fields.find((one) =>
      one.dataset.pointers
        .split(' ')
        .some((own) => own !== '' && (pointer === own || pointer.startsWith(`${own}/`))),
    );
    if (!home) {
      homeless.push(`${pointer} ${words}`.trim());
      continue;
    }
    const wrong = home.querySelector(':scope > .wrong');
    fill(wrong, wrong.hasChildNodes() && ' ', prose(`${sentence(words)}.`));
    wrong.hidden = false;
    const control = home.matches('fieldset') ? home : home.querySelector('input, select, textarea');
    control.setAttribute('aria-invalid', 'true');
    first ??= home.querySelector('input:not(:disabled), select, textarea');
  }
  for (let outer = first?.closest('details'); outer; outer = outer.parentElement.closest('details'))
    outer.open = true;
  first?.focus();
  return homeless;
}

function clearWrong(form) {
  for (const wrong of form.querySelectorAll('.wrong')) {
    wrong.hidden = true;
    wrong.textContent = '';
  }
  for (const control of form.querySelectorAll('[aria-invalid]')) control.removeAttribute('aria-invalid');
}

/**
 * A form that calls the API. `check` returns errors that the page finds itself. `send` makes the call. Errors of single
 * fields are shown at those fields, others above the buttons. A second click while a call runs does nothing.
 */
function apiForm({ className = '', content, submit, danger = false, cancel = null, check = () => [], send }) {
  const summary = h('div');
  const go = h(`button.${danger ? 'danger' : 'primary'}`, { type: 'submit' }, submit);
  const form = h(
    `form${className && `.${className}`}`,
    { novalidate: true, autocomplete: 'off' },
    content,
    summary,
  );
  fill(form, h('div.buttons', go, cancel && button('Cancel', cancel)));

  function tell(error) {
    const wrongs = (error.errors ?? []).map((one) => [(one.pointer ?? '').replace(/^#\//, ''), one.detail]);
    const homeless = showWrong(form, wrongs);
    if (wrongs.length === 0 || homeless.length > 0) refill(summary, problem(error));
    if (wrongs.length === 0) go.focus();
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (go.getAttribute('aria-disabled')) return;
    refill(summary);
    const wrongs = check();
    showWrong(form, wrongs);
    if (wrongs.length > 0) return;
    // `disabled` would take the focus away.
    go.setAttribute('aria-disabled', 'true');
    try {
      await send();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (form.isConnected) tell(error);
    } finally {
      go.removeAttribute('aria-disabled');
    }
  });
  return form;
}

/** Copies a text to the clipboard. Returns whether the browser allowed it. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Browsers refuse this over plain HTTP from another machine, for example.
    return false;
  }
}

/**
 * A pass rate and its confidence interval on a scale from 0 to 1. If every evaluation is inconclusive, nothing was judged, and
 * there is no rate to draw.
 */
function intervalPlot({ pass_rate: rate, pass_rate_interval: interval, ...counts }, status) {
  if (rate === null || interval === null) {
    return h('span.muted', ['pending', 'in_progress'].includes(status) ? 'no results yet' : 'no results');
  }
  if (counts.inconclusive === counts.evaluated) return badge('unsure', 'not judged');
  const at = (share) => `${(share * 100).toFixed(2)}%`;
  const label = `${percent(rate)} passed; with 95% confidence from ${percent(interval.low)} to ${percent(interval.high)}`;
  // The style leaves room at both ends, so a dot at 0 or 1 is not cut in half.
  return h(
    'span.interval',
    svg(
      'svg',
      { role: 'img', 'aria-label': label },
      svg('line.track', { x1: '0%', x2: '100%', y1: '50%', y2: '50%' }),
      [0, 0.5, 1].map((share) => svg('line.tick', { x1: at(share), x2: at(share), y1: '30%', y2: '70%' })),
      svg('line.range', { x1: at(interval.low), x2: at(interval.high), y1: '50%', y2: '50%' }),
      [interval.low, interval.high].map((share) =>
        svg('line.end', { x1: at(share), x2: at(share), y1: '25%', y2: '75%' }),
      ),
      svg('circle.rate', { cx: at(rate), cy: '50%', r: 5 }),
    ),
    h(
      'span.interval-text',
      h('strong', `${percent(rate)} passed`),
      ` (${percent(interval.low)} to ${percent(interval.high)})`,
    ),
  );
}

/** A bar of parts, `[kind, number, word]`, and the same in words. */
function progressBar(total, parts) {
  const whole = Math.max(
    total,
    parts.reduce((sum, [, number]) => sum + number, 0),
    1,
  );
  let from = 0;
  const bars = parts.map(([kind, number]) => {
    const bar = svg(`rect.${kind}`, {
      x: `${(from / whole) * 100}%`,
      width: `${(number / whole) * 100}%`,
      height: '100%',
    });
    from += number;
    return bar;
  });
  const words = parts
    .filter(([, number]) => number > 0)
    .map(([, number, word]) => `${number.toLocaleString('en')} ${word}`);
  return h(
    'div.progress',
    svg('svg', { 'aria-hidden': 'true' }, bars),
    h('span.small', `${words.join(', ') || 'none yet'} of ${total.toLocaleString('en')}`),
  );
}
