// Simulations: the dashboard shows what the API returns.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { NAMES, Server, eventually, launch, open, settled, signIn, visit } from './harness.mjs';

let server;
let browser;
let simulation;
let worldly;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  [simulation] = (await server.get(`/v1/simulations?project_id=${server.project.id}`)).data;
  worldly = await server.worldly();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the dashboard, signs in, and goes to a view. */
async function show(hash, options) {
  const page = await open(browser, server, options);
  await signIn(page, server.key);
  await visit(page, hash);
  return page;
}

const percent = (share) => `${Math.round(share * 100)}%`;

test('a key of one project skips the list of projects', async () => {
  const body = { name: 'one project', preset: 'read_only', project_ids: [server.project.id] };
  const { key } = await server.post('/v1/keys', body);
  const page = await open(browser, server);
  await signIn(page, key);
  await page.getByRole('link', { name: 'Simulations' }).click();
  await page.getByRole('link', { name: simulation.name }).waitFor();
  const row = page.getByRole('row', { name: simulation.name });
  assert.match(await row.innerText(), /completed/);
  assert.match(await row.innerText(), /24 ended of 24/);
  assert.deepEqual(page.troubles, []);
});

test('an objective’s rate and interval are drawn to scale', async () => {
  const page = await show(`#/simulations/${server.project.id}/${simulation.id}`);
  const results = await server.get(
    `/v1/simulations/${simulation.id}/results?project_id=${server.project.id}`,
  );
  assert.equal(results.objectives.length, 3);
  for (const one of results.objectives) {
    const row = page.getByRole('row', { name: one.name });
    const cells = await row.getByRole('cell').allInnerTexts();
    assert.deepEqual(cells.slice(1, 4), [one.passed, one.failed, one.inconclusive].map(String), one.name);
    const { low, high } = one.pass_rate_interval;
    assert.ok(
      cells[0].includes(`${percent(one.pass_rate)} passed (${percent(low)} to ${percent(high)})`),
      cells[0],
    );
    const image = row.getByRole('img', { name: new RegExp(`^${percent(one.pass_rate)} passed`) });
    const [track, range, dot] = await Promise.all(
      ['.track', '.range', '.rate'].map((part) => image.locator(part).boundingBox()),
    );
    const at = (x) => (x - track.x) / track.width;
    for (const [drawn, share] of [
      [at(range.x), low],
      [at(range.x + range.width), high],
      [at(dot.x + dot.width / 2), one.pass_rate],
    ]) {
      assert.ok(Math.abs(drawn - share) < 0.02, `${one.name}: ${drawn} for ${share}`);
    }
  }
  assert.deepEqual(page.troubles, []);
});

/** Has the API end each page after `most` rows, as it does when rows are large. */
async function endPagesAfter(page, most, changeAnswer = (answer) => answer) {
  await page.route(
    (url) => url.searchParams.has('limit'),
    async (route) => {
      const url = new URL(route.request().url());
      url.searchParams.set('limit', String(most));
      const cursor = url.searchParams.get('cursor');
      if (cursor?.startsWith('after-')) {
        url.searchParams.delete('cursor');
        url.searchParams.set('offset', cursor.slice('after-'.length));
      }
      const response = await route.fetch({ url: url.href });
      await route.fulfill({ response, json: changeAnswer(await response.json(), url, cursor) });
    },
  );
}

/** The numbers of the conversations that the page shows. */
const shownNumbers = async (page) =>
  (await page.getByText(/^conversation \d+$/).allInnerTexts()).map((text) => Number(/\d+/.exec(text)[0]));

/** Goes through all pages of a simulation's conversations and returns their numbers. */
async function walk(page) {
  const numbers = [];
  for (;;) {
    numbers.push(...(await shownNumbers(page)));
    const next = page.getByRole('link', { name: 'Next' });
    if ((await next.count()) === 0) return numbers;
    const before = await page.locator('.pager').innerText();
    await next.click();
    // While the next page is loaded, there may be no pager.
    await page.waitForFunction((text) => (document.querySelector('.pager')?.innerText ?? text) !== text, before);
    await settled(page);
  }
}

const oneTo = (most) => Array.from({ length: most }, (_, index) => index + 1);
const ascending = (numbers) => numbers.toSorted((one, other) => one - other);

test('conversations are paged by twenty', async () => {
  const page = await show(`#/simulations/${server.project.id}/${simulation.id}`);
  const conversations = page.getByRole('table', { name: 'Conversations' }).getByRole('rowheader');
  assert.equal(await conversations.count(), 20);
  await page.getByRole('link', { name: 'Next' }).click();
  await page.getByText('21 to 24').waitFor();
  assert.equal(await conversations.count(), 4);
  await page.getByRole('link', { name: 'Previous' }).click();
  await page.getByText('1 to 20').waitFor();
});

test('conversations are filtered by the outcome of an objective', async () => {
  const page = await show(`#/simulations/${server.project.id}/${simulation.id}`);
  const results = await server.get(
    `/v1/simulations/${simulation.id}/results?project_id=${server.project.id}`,
  );
  const objective = results.objectives.find((one) => one.failed > 0);
  for (const [chosen, failed] of [
    ['', results.overall.failed],
    [objective.objective_id, objective.failed],
  ]) {
    await page.getByLabel('Outcome').selectOption('failed');
    await page.getByLabel('Of', { exact: true }).selectOption(chosen);
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForFunction((id) => location.hash.includes(`objective_id=${id}`) === (id !== ''), chosen);
    await settled(page);
    const wanted = new URLSearchParams({ outcome: 'failed', limit: 100, project_id: server.project.id });
    if (chosen !== '') wanted.set('objective_id', chosen);
    const { data } = await server.get(`/v1/simulations/${simulation.id}/conversations?${wanted}`);
    assert.equal(data.length, failed);
    assert.deepEqual(ascending(await walk(page)), ascending(data.map((one) => one.seq_id)));
  }
  await page.getByRole('link', { name: 'Show all' }).click();
  await page.getByText('1 to 20').waitFor();
  assert.deepEqual(page.troubles, []);
});

test('the report is saved as a page', async () => {
  const page = await show(`#/simulations/${server.project.id}/${simulation.id}`);
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download report' }).click(),
  ]);
  assert.equal(download.suggestedFilename(), `report-${simulation.id}.html`);
  const text = await readFile(await download.path(), 'utf8');
  assert.ok(text.startsWith('<!doctype html>') && text.includes(simulation.name), text.slice(0, 500));
  assert.deepEqual(page.troubles, []);
});

test('the pager skips no row of a page that ends early', async () => {
  const page = await show('#/me');
  await endPagesAfter(page, 7);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}`);
  await page.getByText('1 to 7').waitFor();
  assert.deepEqual(ascending(await walk(page)), oneTo(24));
  await page.getByText('22 to 24').waitFor();
  await page.getByRole('link', { name: 'Previous' }).click();
  await page.getByText('2 to 8').waitFor();
});

test('the pager follows cursors and keeps them out of the address', async () => {
  const page = await show('#/me');
  const cursors = [];
  await endPagesAfter(page, 10, (answer, url, cursor) => {
    if (!url.pathname.endsWith('/conversations')) return answer;
    cursors.push(cursor);
    const next = Number(url.searchParams.get('offset') ?? 0) + answer.data.length;
    return { ...answer, next_cursor: answer.has_more ? `after-${next}` : null };
  });
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}`);
  assert.deepEqual(ascending(await walk(page)), oneTo(24));
  assert.deepEqual(cursors, [null, 'after-10', 'after-20']);
  assert.ok(!page.url().includes('after-'), page.url());
});

test('a transcript is loaded page by page', async () => {
  const at = `/v1/simulations/${simulation.id}/conversations`;
  const { data } = await server.get(`${at}?limit=100&project_id=${server.project.id}`);
  const longest = data.toSorted((one, other) => other.item_count - one.item_count)[0];
  const items = (await server.get(`${at}/${longest.id}/items?project_id=${server.project.id}`)).data;
  const texts = items.map((item) => item.content.map((part) => part.text).join('\n'));
  assert.ok(texts.length > 8, `${texts.length} messages`);
  const page = await show('#/me');
  await endPagesAfter(page, 2);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}/${longest.id}`);
  const more = page.getByRole('button', { name: 'Show more messages' });
  assert.deepEqual(await page.locator('.words').allTextContents(), texts.slice(0, 8));
  // An error in between loses no message.
  const fail = (route) => route.abort();
  await page.route('**/items*', fail);
  await more.click();
  await page.getByRole('button', { name: 'Close' }).click();
  await page.unroute('**/items*', fail);
  await more.click();
  await more.waitFor({ state: 'detached' });
  assert.deepEqual(await page.locator('.words').allTextContents(), texts);
});

test('lists of projects and keys are read to their end', async () => {
  const page = await show('#/me');
  await endPagesAfter(page, 1);
  await visit(page, '#/simulations');
  const names = (await server.get('/v1/projects?limit=100')).data.map((project) => project.name);
  const shown = await page.locator('.links a').allInnerTexts();
  assert.equal(shown.length, names.length);
});

test('too many projects to list: the id of another can be typed', async () => {
  const page = await show('#/me');
  for (let number = 0; number < 10; number += 1)
    await server.post('/v1/projects', { name: `Shop ${number}` });
  await endPagesAfter(page, 1);
  await visit(page, '#/simulations');
  await page.getByText('The list has the newest 10 projects. Enter the id of another one.').waitFor();
  await page.getByLabel('Project id').fill(server.project.id);
  await page.getByRole('button', { name: 'Show simulations' }).click();
  await page.getByRole('link', { name: simulation.name }).waitFor();
});

test('the list shows state, progress and result apart', async () => {
  const page = await show(`#/simulations/${worldly.project}`);
  const cells = async (name) =>
    page
      .getByRole('row')
      .filter({ has: page.getByRole('link', { name }) })
      .getByRole('cell')
      .allInnerTexts();
  const reason = '1 of 3 conversations could not be held in any attempt';
  assert.deepEqual((await cells(NAMES.arabic)).slice(0, 3), [
    `failed\n${reason}`,
    '2 ended, 1 failed of 3',
    'not judged',
  ]);
  assert.deepEqual((await cells(NAMES.chinese)).slice(0, 3), ['completed', '1 ended of 1', 'not judged']);
  assert.deepEqual((await cells(NAMES.long)).slice(0, 3), [
    'in progress\nwaits for a worker',
    '1 queued of 1',
    'no results yet',
  ]);
  assert.deepEqual((await cells(NAMES.emoji)).slice(0, 3), [
    'in progress\n4 personas wait for approval',
    'none yet of 4',
    'no results yet',
  ]);
  await visit(page, `#/simulations/${server.project.id}`);
  const [state, progress, result] = await cells(simulation.name);
  assert.deepEqual([state, progress], ['completed', '24 ended of 24']);
  assert.match(result, /^\d+% passed \(\d+% to \d+%\)$/);
});

test('state, progress and result have different colours', async () => {
  const page = await show(`#/simulations/${worldly.project}`);
  const row = (name) => page.getByRole('row').filter({ has: page.getByRole('link', { name }) });
  const fill = (locator) => locator.evaluate((one) => getComputedStyle(one).fill);
  const colour = (locator) => locator.evaluate((one) => getComputedStyle(one).color);
  const ended = await fill(row(NAMES.chinese).locator('.progress .ended'));
  const failed = await fill(row(NAMES.arabic).locator('.progress .failed'));
  assert.notEqual(ended, failed);
  // Ended conversations may have passed or failed, so their bar is neither green nor red.
  const passed = await show(`#/simulations/${server.project.id}/${simulation.id}`);
  const evaluations = ['.badge.good', '.badge.bad'].map((kind) => colour(passed.locator(kind).first()));
  assert.ok(!(await Promise.all(evaluations)).includes(ended), ended);
  // Nothing was judged, so no rate is drawn.
  assert.equal(await row(NAMES.arabic).locator('.interval').count(), 0);
});

test('a failed simulation shows its reason and its problems', async () => {
  const page = await show(`#/simulations/${worldly.project}/${worldly.failed}`);
  const facts = await page.locator('.facts').first().innerText();
  for (const text of [
    '1 of 3 conversations could not be held in any attempt',
    '1 conversation failed: the lease of each attempt expired',
    '2 conversations needed more than one attempt',
  ])
    assert.ok(facts.includes(text), facts);
  const row = (name) => page.getByRole('row').filter({ has: page.getByRole('rowheader', { name }) });
  assert.match(await row(NAMES.emoji).innerText(), /100% passed/);
  assert.match(await row(NAMES.chinese).innerText(), /not judged/);
  const lost = page.getByRole('row').filter({ has: page.getByText('conversation 2', { exact: true }) });
  assert.match(
    await lost.innerText(),
    /failed\s+lease expired because the worker stopped answering\s+attempt 3/,
  );
});

test('a conversation lists its lost attempts', async () => {
  const page = await show(`#/simulations/${worldly.project}/${worldly.failed}/${worldly.lost}`);
  const attempts = page.locator('.facts > div').filter({ hasText: 'Lost attempts' }).getByRole('listitem');
  const texts = (await attempts.allInnerTexts()).map((text) =>
    text.replace(/just now|\d+ minutes? ago/, 'TIME'),
  );
  const expected = (attempt) =>
    `Attempt ${attempt} ended TIME: lease expired because the worker stopped answering. The worker gave no reason.`;
  assert.deepEqual(texts, [1, 2, 3].map(expected));
  await visit(page, `#/simulations/${worldly.project}/${worldly.failed}/${worldly.retried}`);
  assert.equal(await attempts.count(), 1);
  assert.match(await page.locator('.facts').first().innerText(), /ended agent decided/);
  await visit(page, `#/simulations/${worldly.project}/${worldly.failed}/${worldly.held}`);
  assert.equal(await page.getByText('Lost attempts', { exact: true }).count(), 0);
});

test('a lost attempt shows the worker’s reason', async () => {
  const page = await open(browser, server);
  const text = await page.evaluate(() => {
    const attempt = { attempt: 2, end_reason: 'lease_expired', ended_at: new Date().toISOString() };
    return lostAttempts([{ ...attempt, failure_reason: 'out of memory' }]).textContent;
  });
  assert.equal(
    text,
    'Attempt 2 ended just now: lease expired because the worker stopped answering. The worker’s reason: out of memory',
  );
});

test('right-to-left names keep their own order', async () => {
  const page = await show(`#/simulations/${worldly.project}`);
  // In the order of the script, the digit is left of the word before it, and `v2` is left of everything.
  const [start, end] = await page.getByRole('link', { name: NAMES.arabic }).evaluate((link) => {
    const range = document.createRange();
    const left = (from) => {
      range.setStart(link.firstChild, from);
      range.setEnd(link.firstChild, from + 1);
      return range.getBoundingClientRect().left;
    };
    return [left(0), left(link.textContent.length - 2)];
  });
  assert.ok(end < start, `the end is at ${end}, the start at ${start}`);
});

test('evaluations mark their quotes in the transcript', async () => {
  const at = `/v1/simulations/${simulation.id}/conversations`;
  const project = `project_id=${server.project.id}`;
  const { data } = await server.get(`${at}?limit=100&${project}`);
  const conversation = data.find((one) => one.evaluations.some(({ outcome }) => outcome === 'failed'));
  const items = (await server.get(`${at}/${conversation.id}/items?${project}`)).data;
  const page = await show(`#/simulations/${server.project.id}/${simulation.id}/${conversation.id}`);

  assert.deepEqual(
    await page.locator('.words').allTextContents(),
    items.map((item) => item.content.map((part) => part.text).join('\n')),
  );
  for (const { objective, outcome, reason, quotes } of conversation.evaluations) {
    const card = page
      .getByRole('listitem')
      .filter({ has: page.getByRole('heading', { name: objective.name }) });
    const text = await card.innerText();
    assert.ok(text.includes(outcome) && text.includes(reason.replaceAll('`', '')), text);
    for (const quote of quotes) {
      await card.getByRole('button', { name: quote.text }).first().click();
      const focused = page.locator(':focus');
      assert.equal(await focused.getAttribute('id'), `item-${quote.item_id}`);
      assert.ok(
        (await focused.locator('mark').allTextContents()).some((mark) => mark.includes(quote.text)),
        quote.text,
      );
    }
  }
  await page.goBack();
  await settled(page);
  assert.deepEqual(page.troubles, []);
});

test('a running simulation is refreshed', async () => {
  const { id: project } = await server.post('/v1/projects', { name: 'Running' });
  const at = (path) => `${path}?project_id=${project}`;
  const agent = await server.post(at('/v1/agents'), { name: 'Desk' });
  const objective = await server.post(at('/v1/objectives'), {
    name: 'Greets',
    criteria: 'check: agent says /hello/i',
  });
  const running = await server.post(at('/v1/simulations'), {
    name: 'Now',
    scenario: 'A customer asks for the time.',
    agent_id: agent.id,
    objective_ids: [objective.id],
    target_conversations: 1,
    target_personas: 1,
    auto_approve: true,
  });
  const page = await show(`#/simulations/${project}/${running.id}`);
  await page.getByText('1 queued of 1').waitFor();
  await server.post(at(`/v1/simulations/${running.id}/cancel`));
  await page.getByText('canceled').first().waitFor();
  await page.getByText('1 failed of 1').waitFor();
});

/** Creates a project with an agent and a simulation whose personas wait for approval. */
async function waiting(name, changes = {}) {
  const { id: project } = await server.post('/v1/projects', { name });
  const at = (path) => `${path}?project_id=${project}`;
  const agent = await server.post(at('/v1/agents'), { name });
  const simulation = await server.post(at('/v1/simulations'), {
    name,
    scenario: 'A customer asks for the time.',
    agent_id: agent.id,
    target_conversations: 4,
    target_personas: 4,
    ...changes,
  });
  return { project, simulation: simulation.id, agent: agent.id, at };
}

test('a button approves the personas that wait', async () => {
  const { project, simulation, at } = await waiting('Slow');
  const results = () => server.get(at(`/v1/simulations/${simulation}/results`));
  await eventually(async () => (await results()).personas.pending === 4, 'personas are generated');
  const page = await show(`#/simulations/${project}`);
  await page.getByText('4 personas wait for approval').waitFor();
  await visit(page, `#/simulations/${project}/${simulation}`);
  await page.getByText(`onerun personas approve ${simulation} --project ${project} --all`).waitFor();
  await page.getByText('no worker has polled yet').waitFor();
  await page.getByRole('button', { name: 'Approve all' }).click();
  await eventually(async () => (await results()).personas.approved === 4, 'they are approved');
  await page.getByRole('button', { name: 'Approve all' }).waitFor({ state: 'detached' });
  assert.deepEqual(page.troubles, []);
});

test('a running simulation shows when a worker last polled', async () => {
  const { project, simulation, agent } = await waiting('Asked', { auto_approve: true });
  const ask = `/v1/simulations?project_id=${project}&agent_id=${agent}&status=in_progress`;
  await server.get(ask);
  const seen = () => server.get(`/v1/agents/${agent}?project_id=${project}`);
  await eventually(async () => (await seen()).last_polled_at, 'the poll is noted');
  const page = await show(`#/simulations/${project}/${simulation}`);
  await page.getByText('last polled just now').waitFor();
});

test('inconclusive evaluations have no pass rate', async () => {
  const page = await open(browser, server);
  const scores = { evaluated: 6, passed: 0, failed: 0, inconclusive: 6, pass_rate: 0 };
  const text = await page.evaluate((scores) => {
    const interval = { low: 0, high: 0.39 };
    return ['completed', 'in_progress', 'failed'].map((status) => [
      intervalPlot({ ...scores, pass_rate_interval: interval }, status).textContent,
      intervalPlot({ ...scores, pass_rate: null, pass_rate_interval: null }, status).textContent,
    ]);
  }, scores);
  assert.deepEqual(text, [
    ['not judged', 'no results'],
    ['not judged', 'no results yet'],
    ['not judged', 'no results'],
  ]);
});

test('different names look different', async () => {
  const names = [
    'Shop',
    'Sh\u200bop',
    'Shop\u2060',
    '\ufeffShop',
    'Sho\u061cp',
    'Shop\u200e',
    'Shop\u{e0041}',
    '👩\u200d💻',
  ];
  for (const name of names) await server.post('/v1/projects', { name });
  const page = await show('#/simulations');
  const shown = await page.locator('main').innerText();
  for (const code of [
    'Sh\\u{200B}op',
    'Shop\\u{2060}',
    '\\u{FEFF}Shop',
    'Sho\\u{061C}p',
    'Shop\\u{200E}',
    'Shop\\u{E0041}',
  ])
    assert.ok(shown.includes(code), `${code} in ${shown}`);
  assert.ok(shown.includes('👩\u200d💻'), shown);
  assert.ok(!/[\u200b\u2060\ufeff\u061c\u200e\u{e0041}]/u.test(shown));
});

test('a simulation is deleted after a confirmation', async () => {
  const at = (id, rest = '') => `/v1/simulations/${id}${rest}?project_id=${worldly.project}`;
  const id = worldly.workerless;
  const page = await show(`#/simulations/${worldly.project}/${id}`);
  const button = page.getByRole('button', { name: 'Delete', exact: true });
  await page.getByRole('heading', { level: 1 }).waitFor();
  assert.equal(await button.count(), 0, 'it runs');
  await server.post(at(id, '/cancel'), {});
  await page.reload();
  await signIn(page, server.key);
  await visit(page, `#/simulations/${worldly.project}/${id}`);
  await button.click();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  assert.equal((await server.get(at(id))).status, 'canceled');
  await button.click();
  await page.getByRole('button', { name: 'Delete permanently' }).click();
  await page.getByText('is deleted.').waitFor();
  await page.getByRole('heading', { name: 'Simulations', level: 1 }).waitFor();
  const { data } = await server.get(`/v1/simulations?project_id=${worldly.project}&limit=100`);
  assert.ok(data.length > 0 && data.every((one) => one.id !== id));
  assert.deepEqual(page.troubles, []);
});
