// The test kit: a real `onerun serve` in a temporary directory, and Chromium.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const PROGRAM = join(ROOT, 'target/debug/onerun');

/** Loads packages that `tools/install.sh browser` installs. */
export const require = createRequire(join(ROOT, '.tools/browser/package.json'));
const { chromium } = require('playwright-core');

const ENVIRONMENT = { RUST_LOG: 'warn' };

/** Screenshots for people to look at; not committed. */
const SHOTS = join(ROOT, 'target/dashboard');
mkdirSync(SHOTS, { recursive: true });

/** A hostile name, message or reason. */
export const HOSTILE = '<img src=x onerror=alert(1)><script>alert(2)</script>';

/** Names that are hard to lay out: wide characters, emoji made of several, right-to-left scripts, no spaces. */
export const NAMES = {
  chinese: '订单服务台夜间监控任务每天凌晨三点运行请勿手动停止',
  japanese: '返金デスクの夜間モニター（毎晩三時に実行、担当：検索チーム）',
  emoji: '👨‍👩‍👧‍👦🏳️‍🌈🇩🇪 night shift 👩🏽‍💻❤️‍🔥',
  arabic: 'مراقب مكتب الطلبات (كل ليلة 3) v2',
  hebrew: 'שירות לקוחות: החזרים 24/7',
  long: 'W'.repeat(100),
};

export const WIDE = { width: 1280, height: 860 };
export const NARROW = { width: 360, height: 740 };

const DEADLINE_MS = 30_000;

/** Calls `look` until it returns something true, and returns that. */
export async function eventually(look, what) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const say = (text) => ({ input: [{ type: 'message', content: [{ type: 'text', text }] }] });

/** A server with the data of a demo: a project with one simulation of 24 conversations. */
export class Server {
  static async start() {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'onerun-dashboard-'));
    server.data = join(server.directory, 'data');
    const { data } = server;
    const demo = ['demo', '--keep', data, '--conversations', '24', '--seed', '3'];
    const made = spawnSync(PROGRAM, demo, { env: ENVIRONMENT, encoding: 'utf8', timeout: DEADLINE_MS });
    if (made.status !== 0) throw new Error(`demo failed: ${made.error ?? made.stderr}`);
    await server.#serve({});
    server.key = readFileSync(join(data, 'api-key'), 'utf8').trim();
    [server.project] = (await server.get('/v1/projects')).data;
    return server;
  }

  async #serve(env) {
    this.process = spawn(PROGRAM, ['serve', '--port', '0', '--data', this.data], {
      env: { ...ENVIRONMENT, ...env },
    });
    let output = '';
    this.log = '';
    this.process.stdout.on('data', (chunk) => (output += chunk));
    this.process.stderr.on('data', (chunk) => (this.log += chunk));
    this.url = await eventually(() => {
      if (this.process.exitCode !== null) throw new Error(`the server exited: ${this.log}`);
      return /listening on (http:\S+)/.exec(output)?.[1];
    }, 'the server listens');
  }

  /** Restarts the server with other environment variables. Its address changes. */
  async #restart(env) {
    await this.#end();
    await this.#serve(env);
  }

  /**
   * A project with names in several scripts. Returns its id and those of four simulations: one whose personas wait for
   * approval, one without a worker, one that failed after a worker lost conversations, and an inconclusive one.
   */
  async worldly() {
    const { id: project } = await this.post('/v1/projects', { name: NAMES.japanese });
    const at = (path) => `${path}?project_id=${project}`;
    const agent = await this.post(at('/v1/agents'), { name: NAMES.arabic, description: NAMES.hebrew });
    const idle = await this.post(at('/v1/agents'), { name: NAMES.long });
    const objective = async (name, criteria) =>
      (await this.post(at('/v1/objectives'), { name, criteria })).id;
    const decided = await objective(NAMES.emoji, 'check: agent says /返金/');
    const prose = await objective(NAMES.chinese, 'The agent is kind to the customer.');
    const simulate = async (name, body) => {
      const wanted = {
        name,
        scenario: `${NAMES.hebrew}. A customer of ${NAMES.japanese} wants a refund. ${NAMES.emoji}`,
        agent_id: agent.id,
        objective_ids: [decided, prose],
        target_conversations: 1,
        target_personas: 1,
        auto_approve: true,
        seed: 7,
      };
      return (await this.post(at('/v1/simulations'), { ...wanted, ...body })).id;
    };
    const ids = {
      project,
      agent: agent.id,
      waiting: await simulate(NAMES.emoji, {
        auto_approve: false,
        target_conversations: 4,
        target_personas: 4,
      }),
      workerless: await simulate(NAMES.long, { agent_id: idle.id }),
      undecided: await simulate(NAMES.chinese, { objective_ids: [prose] }),
      failed: await simulate(NAMES.arabic, { target_conversations: 3 }),
    };
    const list = async (simulation, total) => {
      const path = at(`/v1/simulations/${simulation}/conversations`);
      const made = async () => (await this.get(path)).data;
      await eventually(async () => (await made()).length === total, 'conversations are queued');
      return (await made()).toSorted((one, other) => one.seq_id - other.seq_id).map((one) => one.id);
    };
    const [undecided] = await list(ids.undecided, 1);
    [ids.held, ids.lost, ids.retried] = await list(ids.failed, 3);
    await this.hold(project, ids.undecided, undecided);
    await this.hold(project, ids.failed, ids.held);
    await this.#restart({ ONERUN_LEASE_SECONDS: '1' });
    const lose = (conversation, attempt) => this.#lose(project, ids.failed, conversation, attempt);
    await Promise.all([lose(ids.lost, 1), lose(ids.retried, 1)]);
    await lose(ids.lost, 2);
    await lose(ids.lost, 3);
    await this.#restart({});
    await this.hold(project, ids.failed, ids.retried);
    const status = async (simulation) => (await this.get(at(`/v1/simulations/${simulation}`))).status;
    await eventually(async () => (await status(ids.failed)) === 'failed', 'the simulation failed');
    await eventually(async () => (await status(ids.undecided)) === 'completed', 'the simulation completed');
    const waiting = async () =>
      (await this.get(at(`/v1/simulations/${ids.waiting}/results`))).personas.pending === 4;
    await eventually(waiting, 'personas wait for approval');
    return ids;
  }

  /** Holds a conversation as a worker does, with one reply. */
  async hold(project, simulation, conversation) {
    const at = (path) =>
      `/v1/simulations/${simulation}/conversations/${conversation}${path}?project_id=${project}`;
    await this.post(at('/start'));
    await this.post(at('/responses'), { input: [] });
    await this.post(at('/responses'), say(`返金は明日です。${NAMES.emoji} ${NAMES.arabic}\n${NAMES.long}`));
    await this.post(at('/end'));
    const judged = async () => (await this.get(at(''))).evaluation_status === 'completed';
    await eventually(judged, 'the conversation is judged');
  }

  /** Starts an attempt at a conversation and lets its lease expire. */
  async #lose(project, simulation, conversation, attempt) {
    const at = (path) =>
      `/v1/simulations/${simulation}/conversations/${conversation}${path}?project_id=${project}`;
    await this.post(at('/start'));
    const ended = async () => (await this.get(at(''))).ended_attempts.length === attempt;
    await eventually(ended, 'the lease expires');
  }

  /** A project with hostile names and texts, and one judged conversation. */
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
    await this.post(at(`${here}/responses`), { input: [] });
    await this.post(at(`${here}/responses`), say(`I have read ${HOSTILE} twice.`));
    await this.post(at(`${here}/end`));
    await eventually(async () => (await first()).evaluation_status === 'completed', 'it is judged');
    return { project, simulation: simulation.id, conversation };
  }

  /** Calls the API. Returns the status and the body. */
  async call(method, path, { body, key = this.key } = {}) {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'x-api-key': key, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(DEADLINE_MS),
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
    if (![200, 202].includes(answer.status)) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer.body;
  }

  async #end() {
    if (this.process.exitCode !== null) return;
    const exit = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGTERM');
    await exit;
  }

  async stop() {
    await this.#end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Starts the machine's Chromium, without its own background requests. */
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

/** A page in a new browser context. `page.troubles` collects uncaught errors and dialogs. */
export async function newPage(browser, { viewport = WIDE, colorScheme = 'light', ...options } = {}) {
  const context = await browser.newContext({ viewport, colorScheme, timezoneId: 'UTC', ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  page.troubles = [];
  // The page opens no alerts itself, so an alert comes from an injected script.
  page.on('dialog', (dialog) => {
    page.troubles.push(`alert: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => page.troubles.push(`uncaught: ${error.message}`));
  return page;
}

/** Opens the dashboard. `page.troubles` also collects violations of the Content-Security-Policy. */
export async function open(browser, server, options) {
  const page = await newPage(browser, options);
  const permissions = ['clipboard-read', 'clipboard-write'];
  await page.context().grantPermissions(permissions, { origin: server.url });
  page.on('console', (message) => {
    if (/Content.Security.Policy|Trusted ?Type/i.test(message.text())) page.troubles.push(message.text());
  });
  await page.goto(server.url);
  return page;
}

/** Signs in and waits for the first view. */
export async function signIn(page, key) {
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
  await settled(page);
}

/** Goes to a view by its address and waits until it is shown. */
export async function visit(page, hash) {
  await page.evaluate(
    (target) =>
      new Promise((resolve) => {
        if (location.hash === target) resolve();
        // The page's own listener is older, so it runs first.
        addEventListener('hashchange', resolve, { once: true });
        location.hash = target;
      }),
    hash,
  );
  await settled(page);
}

/** Waits until the view is shown. */
export async function settled(page) {
  await page.waitForFunction(() => !document.getElementById('main').hasAttribute('aria-busy'));
}

/** All text of the page, its fields, storage and address: none of it may have a key. */
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

/** Takes a screenshot of the whole view, or of the visible part if a dialog is open. */
export async function picture(page, name) {
  const fullPage = (await page.locator('dialog').count()) === 0;
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage });
}
