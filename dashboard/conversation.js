'use strict';

// A conversation: its persona, its transcript and its evaluations.

/** At most how many pages of messages are loaded at once; the API bounds each page in bytes. */
const MESSAGE_PAGES = 4;

const howItEnded = (reason) =>
  ({
    lease_expired: 'lease expired because the worker stopped answering',
    reply_late: 'the persona’s reply came late, so the worker left',
    agent_failed: 'the worker reported that the agent failed',
  })[reason] ?? plain(reason);

async function conversationView(context) {
  const { params, query, signal } = context;
  const at = path`v1/simulations/${params.simulation}/conversations/${params.conversation}`;
  const ask = { project_id: params.project };
  const next = api.pages(`${at}/items`, { query: { ...ask, attempt: query.get('attempt') }, signal });
  const [conversation, messages] = await Promise.all([
    api.get(at, { query: ask, signal }),
    nextMessages(next),
  ]);
  const { persona, evaluations } = conversation;
  const up = simulationAddress(params.project, params.simulation);
  return [
    heading(`Conversation ${conversation.seq_id}`, { above: link(up, 'Simulation'), about: persona.summary }),
    h('section.card', h('h2', 'Persona'), personaFacts(conversation)),
    h(
      'div.columns',
      h(
        'section',
        h('h2', 'Transcript'),
        attemptLinks(context, conversation),
        transcript(messages, evaluations, () => nextMessages(next)),
        personaFaults(conversation),
      ),
      h('section', h('h2', 'Evaluations'), evaluationList(conversation)),
    ),
  ];
}

/** Attempts that a worker lost or abandoned, and why. */
function lostAttempts(ended = []) {
  const isLate = (one) => one.end_reason === 'reply_late';
  const lost = ended.filter((one) => one.end_reason === 'lease_expired' || isLate(one) || one.failure_reason);
  if (lost.length === 0) return null;
  return h(
    'ul.plain',
    lost.map((one) =>
      h(
        'li',
        `Attempt ${one.attempt} ended `,
        time(one.ended_at),
        `: ${howItEnded(one.end_reason)}. `,
        one.failure_reason && `The worker’s reason: ${one.failure_reason}`,
        !one.failure_reason && !isLate(one) && 'The worker gave no reason.',
      ),
    ),
  );
}

function personaFacts({ persona, status, end_reason: reason, ended_attempts: ended }) {
  const attributes = Object.entries(persona.attributes).filter(([, value]) => value !== '');
  return [
    facts([
      ['Status', [statusBadge(status), reason && ` ${howItEnded(reason)}`]],
      ['Lost attempts', lostAttempts(ended)],
      // Of a person in an import no story is known.
      ['Story', persona.story || null],
      ['Purpose', persona.purpose || null],
    ]),
    attributes.length > 0 &&
      persona.purpose !== '' &&
      h(
        'details',
        h('summary', 'Attributes'),
        facts(attributes.map(([name, value]) => [plain(name), value])),
      ),
  ];
}

function attemptLinks(context, { attempt }) {
  if (attempt < 2) return null;
  const shown = Number(context.query.get('attempt') ?? attempt);
  const numbers = Array.from({ length: attempt }, (_, index) => index + 1);
  const to = (one) =>
    h('a', { href: context.address({ attempt: one }), 'aria-current': one === shown && 'true' }, String(one));
  return h(
    'p.small',
    'Attempt: ',
    numbers.map((one) => [to(one), ' ']),
  );
}

/** Messages in order, with the quotes of evaluations marked. `more` loads further ones. */
function transcript({ items, isAll }, evaluations, more) {
  if (items.length === 0) return h('p.empty', 'No messages.');
  const quotes = evaluations.flatMap((evaluation) => evaluation.quotes);
  const list = h(
    'ol.transcript',
    items.map((item) => message(item, quotes)),
  );
  const load = async (event) => {
    const control = event.currentTarget;
    control.disabled = true;
    try {
      const next = await more();
      fill(
        list,
        next.items.map((item) => message(item, quotes)),
      );
      if (next.isAll) control.remove();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      failDialog(error);
    }
    control.disabled = false;
  };
  return [list, !isAll && h('button', { type: 'button', click: load }, 'Show more messages')];
}

/** The messages of the next few pages. `isAll` is true if no page follows. */
async function nextMessages(next) {
  const items = [];
  for (let page = 0; page < MESSAGE_PAGES; page += 1) {
    const { data, isLast } = await next();
    items.push(...data);
    if (isLast) return { items, isAll: true };
  }
  return { items, isAll: false };
}

function message(item, quotes) {
  const text = item.content.map((part) => part.text).join('\n');
  const own = quotes.filter((quote) => quote.item_id === item.id).map((quote) => quote.text);
  return h(
    'li.message',
    { id: `item-${item.id}`, 'data-role': item.role },
    h('p.speaker', item.role === 'user' ? 'Persona' : 'Agent'),
    h('p.words', marked(text, own)),
  );
}

/** A text in which every occurrence of every quote is marked. */
function marked(text, quotes) {
  const ranges = [];
  for (const quote of quotes) {
    if (quote === '') continue;
    for (let from = text.indexOf(quote); from >= 0; from = text.indexOf(quote, from + quote.length)) {
      ranges.push([from, from + quote.length]);
    }
  }
  ranges.sort(([one], [other]) => one - other);
  const nodes = [];
  let done = 0;
  for (const [from, to] of ranges) {
    if (to <= done) continue;
    const start = Math.max(from, done);
    nodes.push(text.slice(done, start), h('mark', text.slice(start, to)));
    done = to;
  }
  nodes.push(text.slice(done));
  return nodes;
}

function evaluationList({ evaluations, evaluation_status: status }) {
  if (evaluations.length === 0) return h('p.empty', `No evaluations: ${plain(status)}.`);
  return h('ul.evaluations', evaluations.map(evaluationCard));
}

function evaluationCard({ objective, objective_version: version, outcome, score, reason, quotes, judge }) {
  return h(
    'li.card',
    h('h3', objective.name),
    h(
      'p',
      statusBadge(outcome),
      ' ',
      h('span.muted', score === null ? 'no score' : `score ${score.toFixed(2)}`),
    ),
    reason && h('p', prose(reason)),
    quotes.length > 0 &&
      h(
        'ul.quotes',
        quotes.map((quote) =>
          h(
            'li',
            h(
              'button.quote',
              { type: 'button', title: 'Show in the transcript', click: () => showQuote(quote) },
              `“${quote.text}”`,
            ),
          ),
        ),
      ),
    h('p.small.muted', `judged by ${judge}, version ${version} of the objective`),
    h('details', h('summary', 'Criteria'), h('pre', objective.criteria)),
  );
}

const foundBy = ({ source }) => (source === 'judge' ? 'the judge' : 'a rule');

/** The faults of the persona, each with a link to its message. */
function personaFaults({ persona_faults: faults }) {
  if (faults.length === 0) return null;
  const isLeftOut = faults.some((fault) => fault.severity === 'critical');
  return [
    h('h2', 'Mistakes of the persona'),
    isLeftOut &&
      h('p.small', 'This conversation is left out of the results: a fault of the persona decided it.'),
    h(
      'ul.quotes',
      faults.map((fault) =>
        h(
          'li',
          `${plain(fault.kind)} (${fault.severity}, found by ${foundBy(fault)}): `,
          // Without a quote, the transcript was deleted.
          fault.quote
            ? h(
                'button.quote',
                { type: 'button', title: 'Show in the transcript', click: () => showQuote(fault) },
                `“${fault.quote}”`,
              )
            : 'the transcript was deleted',
        ),
      ),
    ),
  ];
}

function showQuote(quote) {
  const message = document.getElementById(`item-${quote.item_id}`);
  if (!message) {
    announce(
      'This message is in another attempt, or further down in a transcript that is not loaded to its end.',
    );
    return;
  }
  focusOn(message);
}
