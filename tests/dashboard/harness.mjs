// What the tests of the dashboard stand on: a real `onerun serve` over a temporary directory, and Chromium to look at it.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PROGRAM = join(ROOT, 'target/debug/onerun');

/** Packages that `tools/install.sh browser` has installed. */
export const require = createRequire(join(ROOT, '.tools/browser/package.json'));
const { chromium } = require('playwright-core');

/** Screenshots to be looked at; not committed. */
const SHOTS = join(ROOT, 'target/dashboard');
mkdirSync(SHOTS, { recursive: true });

/** What a name, a message or a reason might be, if somebody meant harm. */
export const HOSTILE = '<img src=x onerror=alert(1)><script>alert(2)</script>';

export const WIDE = { width: 1280, height: 860 };
export const NARROW = { width: 360, height: 740 };

/** How long anything may take. */
const PATIENCE_MS = 30_000;

/** Calls `look` until it returns something, with a deadline. */
export async function eventually(look, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A server over the data of a demo, so that there is a simulation with its conversations. */
export class Server {
  static async start() {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'onerun-dashboard-'));
    const data = join(server.directory, 'data');
    const env = { RUST_LOG: 'warn' };
    const demo = ['demo', '--keep', data, '--conversations', '24', '--seed', '3'];
    const made = spawnSync(PROGRAM, demo, { env, encoding: 'utf8', timeout: PATIENCE_MS });
    if (made.status !== 0) throw new Error(`no demo: ${made.error ?? made.stderr}`);
    server.process = spawn(PROGRAM, ['serve', '--port', '0', '--data', data], { env });
    let said = '';
    server.log = '';
    server.process.stdout.on('data', (chunk) => (said += chunk));
    server.process.stderr.on('data', (chunk) => (server.log += chunk));
    await eventually(() => {
      if (server.process.exitCode !== null) throw new Error(`it ended: ${server.log}`);
      server.url = /listening on (http:\S+)/.exec(said)?.[1];
      return server.url;
    }, 'the server listens');
    server.key = readFileSync(join(data, 'api-key'), 'utf8').trim();
    [server.project] = (await server.get('/v1/projects')).data;
    return server;
  }

  /** A project whose words, and whose agent's, would be markup anywhere else; with one conversation that was judged. */
  async hostile() {
    const { id: project } = await this.post('/v1/projects', { name: HOSTILE });
    const at = (path) => `${path}?project_id=${project}`;
    const agent = await this.post(at('/v1/agents'), { name: HOSTILE, description: HOSTILE });
    const objective = await this.post(at('/v1/objectives'), {
      name: HOSTILE,
      criteria: 'check: agent says /<img[^>]*>/',
    });
    const simulation = await this.post(at('/v1/simulations'), {
      name: HOSTILE,
      scenario: `A customer writes ${HOSTILE} and wants it explained.`,
      agent_id: agent.id,
      objective_ids: [objective.id],
      target_conversations: 1,
      target_personas: 1,
      auto_approve: true,
      seed: 7,
    });
    const conversations = at(`/v1/simulations/${simulation.id}/conversations`);
    const first = async () => (await this.get(conversations)).data[0];
    const { id: conversation } = await eventually(first, 'a conversation is queued');
    const here = `/v1/simulations/${simulation.id}/conversations/${conversation}`;
    const say = (text) => ({ input: [{ type: 'message', content: [{ type: 'text', text }] }] });
    await this.post(at(`${here}/responses`), { input: [] });
    await this.post(at(`${here}/responses`), say(`I have read ${HOSTILE} twice.`));
    await this.post(at(`${here}/end`));
    await eventually(async () => (await first()).evaluation_status === 'completed', 'it is judged');
    return { project, simulation: simulation.id, conversation };
  }

  /** Calls the API as anybody would; answers with the status and the body. */
  async call(method, path, { body, key = this.key } = {}) {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'x-api-key': key, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return { status: response.status, body: await response.json() };
  }

  async get(path) {
    return this.#expect('GET', path);
  }

  async post(path, body) {
    return this.#expect('POST', path, body);
  }

  async #expect(method, path, body) {
    const answer = await this.call(method, path, { body });
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer.body;
  }

  async stop() {
    if (this.process.exitCode === null) {
      const gone = new Promise((resolve) => this.process.once('exit', resolve));
      this.process.kill('SIGTERM');
      await gone;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Chromium as the machine has it, which asks nobody outside for anything. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/**
 * The dashboard in a browser of its own: no storage, cookies or clipboard of another test's. `page.troubles` has what went
 * wrong in it: uncaught errors, and what the Content-Security-Policy stopped.
 */
export async function open(browser, server, { viewport = WIDE, colorScheme = 'light', ...options } = {}) {
  const context = await browser.newContext({ viewport, colorScheme, timezoneId: 'UTC', ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  const page = await context.newPage();
  page.troubles = [];
  // Nothing in the page asks or tells by itself: whatever does was put into it.
  page.on('dialog', (dialog) => {
    page.troubles.push(`it asks: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => page.troubles.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    if (/Content.Security.Policy|Trusted ?Type/i.test(message.text())) page.troubles.push(message.text());
  });
  await page.goto(server.url);
  return page;
}

/** Pastes a key and waits for what is shown then. */
export async function signIn(page, key) {
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'Forget the key' }).waitFor();
  await settled(page);
}

/** Goes to a view by its address, and waits until it is there. */
export async function visit(page, hash) {
  await page.evaluate(
    (target) =>
      new Promise((resolve) => {
        if (location.hash === target) resolve();
        // The page has listened for longer, so it has begun by then.
        addEventListener('hashchange', resolve, { once: true });
        location.hash = target;
      }),
    hash,
  );
  await settled(page);
}

/** Waits until the view that was asked for is in place. */
export async function settled(page) {
  await page.waitForFunction(() => !document.getElementById('main').hasAttribute('aria-busy'));
}

/** The text of everything in the page, what stands in fields included: where a key must not be. */
export function everything(page) {
  return page.evaluate(() => {
    const fields = Array.from(document.querySelectorAll('input, textarea'), (field) => field.value);
    const storage = [localStorage, sessionStorage].map((store) => JSON.stringify(store));
    return [
      document.documentElement.outerHTML,
      ...fields,
      ...storage,
      document.cookie,
      location.href,
      document.title,
    ].join('\n');
  });
}

/** Takes a picture of all of a view, or of what a dialog leaves to be seen of it. */
export async function picture(page, name) {
  const fullPage = (await page.locator('dialog').count()) === 0;
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage });
}
