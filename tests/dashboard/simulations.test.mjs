// Simulations: what is shown is what the API says.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Server, launch, open, settled, signIn, visit } from './harness.mjs';

let server;
let browser;
let simulation;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  [simulation] = (await server.get(`/v1/simulations?project_id=${server.project.id}`)).data;
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const percent = (share) => `${Math.round(share * 100)}%`;

test('the only project is gone into at once, and its simulation is shown with its progress', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await page.getByRole('link', { name: 'Simulations' }).click();
  await page.getByRole('link', { name: simulation.name }).waitFor();
  const row = page.getByRole('row', { name: simulation.name });
  assert.match(await row.innerText(), /completed/);
  assert.match(await row.innerText(), /24 ended of 24/);
  assert.deepEqual(page.troubles, []);
});

test('each objective has its counts, its pass rate and the interval, drawn where it lies', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}`);
  const results = await server.get(
    `/v1/simulations/${simulation.id}/results?project_id=${server.project.id}`,
  );
  assert.equal(results.objectives.length, 3);
  for (const one of results.objectives) {
    const row = page.getByRole('row', { name: one.name });
    const cells = await row.getByRole('cell').allInnerTexts();
    assert.deepEqual(cells.slice(1, 4), [one.passed, one.failed, one.inconclusive].map(String), one.name);
    const { low, high } = one.pass_rate_interval;
    assert.ok(cells[0].includes(`${percent(one.pass_rate)} (${percent(low)} to ${percent(high)})`), cells[0]);
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

test('conversations come in pages', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}`);
  const conversations = page.getByRole('table', { name: 'Conversations' }).getByRole('rowheader');
  assert.equal(await conversations.count(), 20);
  await page.getByRole('link', { name: 'Next' }).click();
  await page.getByText('21 to 24').waitFor();
  assert.equal(await conversations.count(), 4);
  await page.getByRole('link', { name: 'Previous' }).click();
  await page.getByText('1 to 20').waitFor();
});

test('a conversation has its words in order, and verdicts whose quotes are marked where they were said', async () => {
  const at = `/v1/simulations/${simulation.id}/conversations`;
  const project = `project_id=${server.project.id}`;
  const { data } = await server.get(`${at}?limit=100&${project}`);
  const conversation = data.find((one) => one.evaluations.some(({ outcome }) => outcome === 'failed'));
  const items = (await server.get(`${at}/${conversation.id}/items?${project}`)).data;
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}/${conversation.id}`);

  assert.deepEqual(
    await page.locator('.words').allTextContents(),
    items.map((item) => item.content.map((part) => part.text).join('\n')),
  );
  for (const { objective, outcome, reason, quotes } of conversation.evaluations) {
    const verdict = page
      .getByRole('listitem')
      .filter({ has: page.getByRole('heading', { name: objective.name }) });
    const text = await verdict.innerText();
    assert.ok(text.includes(outcome) && text.includes(reason.replaceAll('`', '')), text);
    for (const quote of quotes) {
      await verdict.getByRole('button', { name: quote.text }).first().click();
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

test('what changes is shown anew by itself', async () => {
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
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${project}/${running.id}`);
  await page.getByText('1 queued of 1').waitFor();
  await server.post(at(`/v1/simulations/${running.id}/cancel`));
  await page.getByText('canceled').first().waitFor();
  await page.getByText('1 failed of 1').waitFor();
});
