// Monitors: the chart of pass rates shows what the API returns.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Server, launch, open } from './harness.mjs';

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const run = (number, rates, verdict, passed = 1) => ({
  id: `run${number}`,
  planned_at: `2026-11-30T0${number}:00:00Z`,
  outcomes: rates && {
    passed,
    failed: 0,
    pass_rate: rates[1],
    pass_rate_interval: { low: rates[0], high: rates[2] },
  },
  verdict,
});
const event = (number, change) => ({
  run_id: `run${number}`,
  change,
  planned_at: `2026-11-30T0${number}:00:00Z`,
});

test('the series of a monitor is drawn to scale', async () => {
  const page = await open(browser, server);
  const runs = [run(1, [0.7, 0.9, 1], 'pass'), run(2, null, 'infra'), run(3, [0.2, 0.4, 0.65], 'fail')];
  await page.evaluate(
    ([runs, alert]) => {
      const card = seriesCard({ gate: { min_pass_rate: 0.8 } }, runs, alert);
      document.querySelector('main').replaceChildren(card);
    },
    [runs, { events: [event(3, 'opened')] }],
  );
  const chart = page.getByRole('img', {
    name: 'Pass rates of the latest 2 runs with results: from 40% to 90%, at last 40%; 1 alert',
  });
  const [plot] = await chart.evaluateAll((nodes) => nodes.map((node) => node.getBoundingClientRect().toJSON()));
  const boxes = (part) =>
    chart.locator(part).evaluateAll((nodes) => nodes.map((node) => node.getBoundingClientRect().toJSON()));
  const close = (drawn, share, what) => assert.ok(Math.abs(drawn - share) < 0.02, `${what}: ${drawn} for ${share}`);
  const rate = (y) => 1 - (y - plot.top) / plot.height;
  const place = (x) => (x - plot.left) / plot.width;

  const ranges = await boxes('.range');
  const dots = [...(await boxes('circle.good')), ...(await boxes('circle.bad'))];
  assert.equal(ranges.length, 2);
  assert.equal(dots.length, 2);
  for (const [index, { id, outcomes }] of [runs[0], runs[2]].entries()) {
    close(rate(ranges[index].bottom), outcomes.pass_rate_interval.low, `low end of ${id}`);
    close(rate(ranges[index].top), outcomes.pass_rate_interval.high, `high end of ${id}`);
    close(rate((dots[index].top + dots[index].bottom) / 2), outcomes.pass_rate, `rate of ${id}`);
    close(place((dots[index].left + dots[index].right) / 2), [1 / 6, 5 / 6][index], `place of ${id}`);
  }
  const [missing] = await boxes('.missing');
  close(place(missing.left), 0.5, 'place of the run without results');
  const [gate] = await boxes('.gate');
  close(rate(gate.top), 0.8, 'gate');
  const [alerting] = await boxes('.alerting');
  close(place(alerting.left), 2 / 3, 'start of the alert');
  close(place(alerting.right), 1, 'end of the alert');
  assert.deepEqual(page.troubles, []);
});

test('alerts span the runs at which they were open', async () => {
  const page = await open(browser, server);
  const spans = (events) =>
    page.evaluate(
      ([runs, events]) => alertSpans(runs, events),
      [[1, 2, 3, 4, 5].map((number) => run(number, null, null)), events],
    );
  assert.deepEqual(await spans([]), []);
  assert.deepEqual(await spans([event(4, 'recovered'), event(2, 'opened')]), [[1, 3]]);
  assert.deepEqual(await spans([event(5, 'opened')]), [[4, 4]]);
  // It opened before the first of these runs.
  assert.deepEqual(await spans([event(5, 'opened'), event(2, 'recovered'), event(0, 'opened')]), [
    [0, 1],
    [4, 4],
  ]);
  assert.deepEqual(await spans([event(0, 'opened')]), [[0, 4]]);
  assert.deepEqual(await spans([event(0, 'recovered')]), []);
});

test('a monitor without rates has no chart', async () => {
  const page = await open(browser, server);
  const runs = [run(1, null, 'infra'), run(2, [0, 0, 0.4], 'inconclusive', 0)];
  const card = await page.evaluate((runs) => seriesCard({ gate: null }, runs, null), runs);
  assert.equal(card, null);
});
