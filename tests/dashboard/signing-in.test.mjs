// Signing in and out, and that the key stays in memory only.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';

import { Server, everything, launch, open, settled, signIn, visit } from './harness.mjs';

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Tries to sign in with a refused key, and returns the error. */
async function refusal(page, key) {
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const alert = page.getByRole('alert');
  await alert.waitFor();
  return alert.innerText();
}

test('a wrong key is refused with the API’s message', async () => {
  const page = await open(browser, server);
  const wrong = randomBytes(32).toString('base64');
  const { body } = await server.call('GET', '/v1/whoami', { key: wrong });
  const said = await refusal(page, wrong);
  assert.ok(said.toLowerCase().includes(body.message.replaceAll('`', '').toLowerCase()), said);
  assert.match(said, /Check that you copied the whole key/);
  assert.equal(await page.getByLabel('API key').inputValue(), '');
  assert.ok(!(await everything(page)).includes(wrong));
  await signIn(page, server.key);
  assert.deepEqual(page.troubles, []);
});

test('a text that cannot be a key is not sent', async () => {
  const page = await open(browser, server);
  let asked = 0;
  page.on('request', () => (asked += 1));
  for (const [text, said] of [
    ['', 'Paste an API key.'],
    ['clé', 'A key has only ASCII letters, digits and symbols, and no spaces.'],
  ]) {
    await page.getByLabel('API key').fill(text);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText(said).waitFor();
    assert.equal(await page.getByLabel('API key').getAttribute('aria-invalid'), 'true');
  }
  assert.equal(asked, 0);
});

test('the key is in no storage, address or element', async () => {
  const page = await open(browser, server);
  const addresses = [];
  page.on('request', (request) => addresses.push(request.url()));
  await signIn(page, server.key);
  await visit(page, '#/me');
  assert.ok(!(await everything(page)).includes(server.key));
  await visit(page, '#/simulations');
  assert.ok(
    addresses.length > 2 && !addresses.some((address) => decodeURIComponent(address).includes(server.key)),
  );
  assert.deepEqual(await page.context().cookies(), []);
  const databases = await page.evaluate(() => indexedDB.databases());
  assert.deepEqual(databases, []);

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key').waitFor();
  assert.ok(!(await everything(page)).includes(server.key));
  let asked = 0;
  page.on('request', () => (asked += 1));
  await visit(page, '#/me');
  assert.ok(await page.getByLabel('API key').isVisible());
  assert.equal(asked, 0, 'no request without a key');
});

test('reloading and going back sign out', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await page.reload();
  await page.getByLabel('API key').waitFor();
  assert.equal(await page.getByLabel('API key').inputValue(), '');

  await signIn(page, server.key);
  await page.goto(`${server.url}/health`);
  await page.goBack();
  await page.getByLabel('API key').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Sign out' }).count(), 0);
});

test('requests go to the server only, with the key in a header', async () => {
  const page = await open(browser, server);
  const requests = [];
  page.on('request', (request) => requests.push(request));
  await signIn(page, server.key);
  await visit(page, '#/simulations');
  assert.ok(requests.length > 0);
  for (const request of requests) {
    assert.equal(new URL(request.url()).origin, server.url);
    const headers = await request.allHeaders();
    assert.equal(headers['x-api-key'], server.key);
    assert.equal(headers.cookie, undefined);
    assert.equal(headers.referer, undefined);
  }
});

test('without an answer, the view offers to try again', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await page.context().setOffline(true);
  await visit(page, '#/me');
  const alert = page.getByRole('alert');
  await alert.waitFor();
  assert.match(await alert.innerText(), /The API did not answer\. Check that the server is running/);
  await page.context().setOffline(false);
  await alert.getByRole('button', { name: 'Try again' }).click();
  await page.getByRole('heading', { name: 'This key', level: 1 }).waitFor();
  await settled(page);
});

test('a key pasted as an id gets into no address, request or page', async () => {
  const blind = await server.post('/v1/keys', {
    name: 'blind',
    scopes: ['simulations:read'],
    all_projects: true,
  });
  const page = await open(browser, server);
  const requested = [];
  page.on('request', (request) => requested.push(`${request.url()} ${request.postData() ?? ''}`));
  await signIn(page, blind.key);
  await visit(page, '#/simulations');
  for (const pasted of [server.key, blind.key, 'onr_AAECAwQFBgcI', 'a b', 'x/../../v1/keys']) {
    const field = page.getByLabel('Project id');
    await field.fill(pasted);
    await page.getByRole('button', { name: 'Show simulations' }).click();
    await page.getByText('A project id has 12 letters and digits.').waitFor();
    assert.equal(await field.inputValue(), '');
    assert.ok(page.url().endsWith('#/simulations'), page.url());
    if (pasted.length > 40) assert.ok(!(await everything(page)).includes(pasted.slice(16)));
  }
  // The same in the address itself.
  const secret = blind.key;
  for (const hash of [
    `#/simulations/${secret}`,
    `#/simulations/${server.project.id}/${secret}`,
    `#/keys/${secret}`,
    `#/simulations/${server.project.id}?status=${secret}`,
  ]) {
    await page.evaluate((target) => location.replace(target), hash);
    await page.waitForFunction((text) => !location.href.includes(text), secret);
    await settled(page);
    assert.ok(!(await everything(page)).includes(secret.slice(16)), hash);
  }
  assert.ok(
    requested.every((request) => !request.includes(secret.slice(16)) && !request.includes(server.key)),
  );
  await visit(page, '#/simulations');
  await page.getByLabel('Project id').fill(` ${server.project.id} `);
  await page.getByRole('button', { name: 'Show simulations' }).click();
  await page.getByRole('table', { name: 'Simulations' }).waitFor();
  assert.deepEqual(page.troubles, []);
});
