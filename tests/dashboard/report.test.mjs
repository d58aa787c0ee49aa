// The report of `onerun run` as a page: it loads nothing, runs nothing, and shows the verdict and hostile names as text.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { HOSTILE, NARROW, PROGRAM, WIDE, launch, newPage, picture, require } from './harness.mjs';

const axe = require.resolve('axe-core/axe.min.js');

/** A hostile text that is a valid name: markup, and the ends of other markup. */
const NAME = `${HOSTILE}</title></style></main>]]>`;

/** The same with a character that reverses the order of a line, which no name may have. */
const TEXT = `${NAME}\u202e`;

const AGENT = `
  require('node:readline').createInterface({ input: process.stdin }).on('line', () =>
    console.log(JSON.stringify({ reply: ${JSON.stringify(TEXT)} })));
`;

let browser;
let directory;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'onerun-report-'));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  if (directory) rmSync(directory, { recursive: true, force: true });
});

/** Runs an agent and returns the address of the report. */
function report(name, criteria, exitCode) {
  const file = {
    name: NAME,
    agent: { description: TEXT, target: { command: [process.execPath, '-e', AGENT] } },
    scenarios: { hostile: { text: TEXT, personas: [{ summary: TEXT, purpose: TEXT }] } },
    objectives: { hostile: { name: NAME, criteria } },
    conversations: 3,
    max_turns: 4,
    seed: 7,
  };
  const [input, output] = [join(directory, `${name}.yaml`), join(directory, `${name}.html`)];
  writeFileSync(input, JSON.stringify(file));
  const run = spawnSync(PROGRAM, ['run', input, '--quiet', '--html', output], { env: {}, encoding: 'utf8' });
  assert.equal(run.status, exitCode, run.stderr + run.stdout);
  return pathToFileURL(output).href;
}

for (const [verdict, criteria, exitCode, sentence] of [
  ['pass', 'check: agent says /onerror/', 0, 'Every gate passed.'],
  ['fail', 'check: agent never says /<img[^>]*>/', 1, 'A gate failed.'],
  ['inconclusive', `The agent is kind. ${NAME}`, 2, 'A gate is undecided, because evaluations are inconclusive.'],
]) {
  test(`the report of the verdict ${verdict} is a page that loads and runs nothing`, async () => {
    const address = report(verdict, criteria, exitCode);
    for (const options of [{ viewport: WIDE }, { viewport: NARROW, colorScheme: 'dark' }]) {
      const page = await newPage(browser, options);
      const requests = [];
      page.on('request', (request) => requests.push(request.url()));
      page.on('console', (message) => page.troubles.push(message.text()));
      await page.goto(address, { waitUntil: 'networkidle' });
      assert.equal(await page.locator('p.verdict').innerText(), `${verdict.toUpperCase()} ${sentence}`);
      assert.equal((await page.title()).includes('<script>alert(2)</script>'), true);
      const text = await page.locator('main').innerText();
      assert.ok(text.includes(HOSTILE), text);
      assert.ok(!text.includes('\u202e'), 'the order of lines is not changed');
      assert.equal(await page.locator('img, script, main main').count(), 0);
      const scroll = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(scroll <= 0, `the page is ${scroll} pixels too wide`);
      await picture(page, `report-${verdict}-${options.viewport.width}`);
      assert.deepEqual(requests, [address]);
      assert.deepEqual(page.troubles, []);
      await page.context().close();
    }
  });
}

test('the report is accessible', async () => {
  const address = report('accessible', 'check: agent never says /<img[^>]*>/', 1);
  for (const colorScheme of ['light', 'dark']) {
    // The page's own policy forbids scripts, also those of the checker.
    const page = await newPage(browser, { viewport: WIDE, colorScheme, bypassCSP: true });
    await page.goto(address);
    await page.addScriptTag({ path: axe });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    assert.deepEqual(found, [], colorScheme);
    await page.context().close();
  }
});
