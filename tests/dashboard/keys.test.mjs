// Keys, from creation to revocation, by mouse and by keyboard.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import {
  HOSTILE,
  NARROW,
  Server,
  eventually,
  everything,
  launch,
  open,
  settled,
  signIn,
  visit,
} from './harness.mjs';

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const A_KEY = /^onr_[\w-]{60}$/;

/** Creates a key through the API. */
const make = (body) => server.post('/v1/keys', { all_projects: true, ...body });

const whoami = (key) => server.call('GET', '/v1/whoami', { key });

const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

/** Waits until a key is refused with a code. The server caches keys for some seconds. */
const refused = (key, code) =>
  eventually(async () => (await whoami(key)).body.code === code, `the code is ${code}`);

/** Tries to sign in with a refused key, and returns the error. */
async function signInRefused(key) {
  const page = await open(browser, server);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  return page.getByRole('alert').innerText();
}

async function signedIn(options) {
  const page = await open(browser, server, options);
  await signIn(page, server.key);
  return page;
}

test('a new key is shown once, copied, and works', async () => {
  const page = await signedIn();
  await page.getByRole('link', { name: 'Create a key' }).click();
  await page.getByLabel('Name').fill('ci of checkout');
  await page.getByRole('button', { name: /^worker/ }).click();
  await page.getByLabel('Demo').check();
  await page.getByRole('button', { name: 'Create key' }).click();

  const dialog = page.getByRole('dialog', { name: 'Your new key' });
  const shown = await dialog.locator('output').innerText();
  assert.match(shown, A_KEY);
  await dialog.getByText('The key is shown only now').waitFor();
  await dialog.getByRole('button', { name: 'Copy' }).click();
  await dialog.getByText('Copied.').waitFor();
  assert.equal(await clipboard(page), shown);
  // Escape closes other dialogs, but not this one.
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  // Nor does the back button.
  await page.goBack();
  await settled(page);
  assert.ok(await dialog.isVisible());
  assert.equal(await dialog.locator('output').innerText(), shown);

  const { status, body } = await whoami(shown);
  assert.equal(status, 200);
  assert.equal(body.name, 'ci of checkout');
  assert.deepEqual(body.scopes.toSorted(), [
    'agents:read',
    'conversations:read',
    'conversations:write',
    'simulations:read',
  ]);
  assert.deepEqual(body.project_ids, [server.project.id]);
  const days = (new Date(body.expires_at) - Date.now()) / 86_400_000;
  assert.ok(days > 89.9 && days <= 90, `${days} days`);

  await dialog.getByRole('button', { name: 'I have stored it' }).click();
  await page.getByRole('heading', { name: 'ci of checkout', level: 1 }).waitFor();
  await settled(page);
  assert.ok(!(await everything(page)).includes(shown.slice(16)));
  await page.goBack();
  await settled(page);
  assert.ok(!(await everything(page)).includes(shown.slice(16)));
  assert.deepEqual(page.troubles, []);
});

/** Presses Tab until the focus is on the element. */
async function tabTo(page, locator) {
  for (let pressed = 0; pressed < 80; pressed += 1) {
    if (await locator.evaluateAll((found) => found.includes(document.activeElement))) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`${locator} is not reached by Tab`);
}

test('a key is created by keyboard', async () => {
  const page = await open(browser, server);
  await page.keyboard.type(server.key);
  await page.keyboard.press('Enter');
  const create = page.getByRole('link', { name: 'Create a key' });
  await create.waitFor();
  await tabTo(page, create);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Create a key' }).waitFor();
  await tabTo(page, page.getByLabel('Name'));
  await page.keyboard.type('by hand');
  await tabTo(page, page.getByRole('button', { name: /^monitor/ }));
  await page.keyboard.press('Space');
  await tabTo(page, page.getByRole('checkbox', { name: 'objectives:read' }));
  await page.keyboard.press('Space');
  await tabTo(page, page.getByRole('radio', { name: 'These projects' }));
  await page.keyboard.press('ArrowDown');
  await tabTo(page, page.getByLabel('Days until it expires'));
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.type('7');
  await tabTo(page, page.getByRole('button', { name: 'Create key' }));
  await page.keyboard.press('Enter');

  const dialog = page.getByRole('dialog', { name: 'Your new key' });
  await dialog.waitFor();
  // The dialog focuses its first action.
  assert.equal(await page.locator(':focus').innerText(), 'Copy');
  await page.keyboard.press('Enter');
  await dialog.getByText('Copied.').waitFor();
  const { body } = await whoami(await clipboard(page));
  assert.equal(body.name, 'by hand');
  assert.equal(body.all_projects, true);
  assert.ok(body.scopes.includes('simulations:write') && !body.scopes.includes('objectives:read'));
  assert.ok(new Date(body.expires_at) - Date.now() < 7.1 * 86_400_000);
  await tabTo(page, dialog.getByRole('button', { name: 'I have stored it' }));
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'by hand', level: 1 }).waitFor();
  await settled(page);
  assert.equal(await page.locator(':focus').innerText(), 'by hand');
});

test('a key never expires only if chosen, with a warning', async () => {
  const page = await signedIn();
  await visit(page, '#/keys/new');
  const risk = page.getByText('works until somebody revokes it');
  assert.ok(!(await risk.isVisible()));
  await page.getByLabel('Name').fill('for ever');
  await page.getByRole('checkbox', { name: 'agents:read' }).check();
  await page.getByRole('radio', { name: /^All projects/ }).check();
  await page.getByRole('radio', { name: 'Never' }).check();
  assert.ok(await risk.isVisible());
  await page.getByRole('button', { name: 'Create key' }).click();
  const made = await page.getByRole('dialog').locator('output').innerText();
  assert.equal((await whoami(made)).body.expires_at, null);
});

test('form errors are shown at their fields', async () => {
  const page = await signedIn();
  await visit(page, '#/keys/new');
  await page.getByRole('button', { name: 'Create key' }).click();
  for (const said of [
    'Enter a name.',
    'Choose at least one scope.',
    'Choose at least one project, or all projects.',
  ]) {
    await page.getByText(said, { exact: true }).waitFor();
  }
  assert.equal(
    await page.locator(':focus').getAttribute('id'),
    await page.getByLabel('Name').getAttribute('id'),
  );
  await page.getByLabel('Name').fill('x');
  await page.getByRole('button', { name: /^read only/ }).click();
  await page.getByRole('radio', { name: /^All projects/ }).check();
  await page.getByText('Addresses, rate limit, start').click();
  const addresses = page.getByLabel('Allowed addresses');
  await addresses.fill('10.0.0.0/8\nhere');
  await page.getByText('Addresses, rate limit, start').click();
  await page.getByRole('button', { name: 'Create key' }).click();
  await page.locator('.wrong:visible').waitFor();
  // The folded section is open again, and its field has the focus.
  assert.ok(await addresses.isVisible());
  assert.equal(await addresses.getAttribute('aria-invalid'), 'true');
  assert.equal(await page.locator(':focus').getAttribute('id'), await addresses.getAttribute('id'));
});

test('a lost answer creates no second key', async () => {
  const page = await signedIn();
  await visit(page, '#/keys/new');
  await page.getByLabel('Name').fill('lost on the way');
  await page.getByRole('checkbox', { name: 'agents:read' }).check();
  await page.getByRole('radio', { name: /^All projects/ }).check();
  await page.route('**/v1/keys', async (route) => {
    await route.fetch();
    await route.abort();
  });
  await page.getByRole('button', { name: 'Create key' }).click();
  await page.getByText('The API did not answer.').waitFor();
  await page.unroute('**/v1/keys');
  await page.getByRole('button', { name: 'Create key' }).click();
  await page.getByRole('dialog', { name: 'The key exists, but its secret is lost' }).waitFor();
  await page.getByRole('button', { name: 'Go to the key' }).click();
  await page.getByRole('heading', { name: 'lost on the way', level: 1 }).waitFor();
  const { data } = await server.get('/v1/keys?limit=100');
  assert.equal(data.filter((key) => key.name === 'lost on the way').length, 1);
});

test('after a rotation both keys work, and use of the old one shows', async () => {
  const old = await make({ name: 'nightly', preset: 'monitor' });
  const page = await signedIn();
  await visit(page, `#/keys/${old.id}`);
  await page.getByRole('button', { name: 'Rotate' }).click();
  const dialog = page.getByRole('dialog', { name: 'Rotate nightly' });
  assert.ok(await dialog.getByRole('radio', { name: '24 hours' }).isChecked());
  await dialog.getByRole('radio', { name: '1 hour' }).check();
  await dialog.getByRole('button', { name: 'Rotate' }).click();
  const shown = page.getByRole('dialog', { name: 'Your new key' });
  const fresh = await shown.locator('output').innerText();
  await shown.getByText('The old key works for another 1 hour at most.').waitFor();
  await shown.getByRole('button', { name: 'I have stored it' }).click();
  assert.equal((await whoami(fresh)).status, 200);
  assert.equal((await whoami(old.key)).status, 200);

  await page.getByRole('link', { name: old.id }).click();
  await page.getByRole('heading', { name: 'This key was replaced', level: 2 }).waitFor();
  await eventually(async () => {
    await page.reload();
    await signIn(page, server.key);
    return (await page.getByText('still in use').count()) > 0;
  }, 'use of the old key is shown');
  assert.match(await page.locator('.notice').innerText(), /Used once since then/);
  assert.equal(
    await page.getByRole('button', { name: 'Rotate' }).count(),
    0,
    'a replaced key cannot be rotated',
  );
});

test('a key rotated without overlap counts as revoked', async () => {
  const old = await make({ name: 'short', preset: 'worker' });
  const page = await signedIn();
  await visit(page, `#/keys/${old.id}`);
  await page.getByRole('button', { name: 'Rotate' }).click();
  const dialog = page.getByRole('dialog', { name: 'Rotate short' });
  await dialog.getByRole('radio', { name: /^No time/ }).check();
  await dialog.getByRole('button', { name: 'Rotate' }).click();
  await page.getByText('The old key no longer works.').waitFor();
  await refused(old.key, 'revoked_api_key');
  const { body } = await whoami(old.key);
  const said = await signInRefused(old.key);
  assert.ok(said.toLowerCase().includes(body.message.replaceAll('`', '').toLowerCase()), said);
  assert.match(said, /Ask the person who manages the keys for a new one/);
});

test('a key is revoked only after its name or id is typed', async () => {
  const doomed = await make({ name: 'old laptop', preset: 'worker' });
  const page = await signedIn();
  await visit(page, `#/keys/${doomed.id}`);
  await page.getByRole('button', { name: 'Revoke' }).click();
  const dialog = page.getByRole('dialog', { name: 'Revoke this key?' });
  await dialog.getByLabel('To confirm, type the key’s name or id').fill('old desktop');
  await dialog.getByRole('button', { name: 'Revoke permanently' }).click();
  await dialog.getByText('This is neither the name nor the id of the key.').waitFor();
  assert.equal((await server.get(`/v1/keys/${doomed.id}`)).status, 'active');

  await dialog.getByLabel('To confirm, type the key’s name or id').fill('old laptop');
  await page.keyboard.press('Enter');
  await page.getByText('Key old laptop is revoked.').waitFor();
  await settled(page);
  assert.equal((await server.get(`/v1/keys/${doomed.id}`)).status, 'revoked');
  for (const action of ['Rotate', 'Change', 'Disable', 'Revoke']) {
    assert.equal(await page.locator('main').getByRole('button', { name: action }).count(), 0, action);
  }
  await refused(doomed.key, 'revoked_api_key');
  assert.match(await signInRefused(doomed.key), /revoked/);
});

test('a disabled key works again once enabled', async () => {
  const key = await make({ name: 'paused', preset: 'worker' });
  const page = await signedIn();
  await visit(page, `#/keys/${key.id}`);
  await page.getByRole('button', { name: 'Disable' }).click();
  await page.getByRole('button', { name: 'Enable' }).waitFor();
  await refused(key.key, 'inactive_api_key');
  await page.getByRole('button', { name: 'Enable' }).click();
  await page.getByRole('button', { name: 'Disable' }).waitFor();
  await eventually(async () => (await whoami(key.key)).status === 200, 'it works again');
});

test('a change sends only the changed members', async () => {
  const made = await make({ name: 'wide', preset: 'ci', allowed_cidrs: ['127.0.0.0/8'] });
  const page = await signedIn();
  await visit(page, `#/keys/${made.id}/change`);
  await page.getByRole('checkbox', { name: 'personas:write' }).uncheck();
  await page.getByLabel('Requests').fill('100');
  const sent = page.waitForRequest((request) => request.method() === 'PATCH');
  await page.getByRole('button', { name: 'Save' }).click();
  assert.deepEqual(Object.keys((await sent).postDataJSON()), ['scopes', 'rate_limit']);
  await page.getByRole('heading', { name: 'wide', level: 1 }).waitFor();
  await page.getByText('100 requests in 1 minute').waitFor();
  const changed = await server.get(`/v1/keys/${made.id}`);
  assert.deepEqual(
    changed.scopes,
    made.scopes.filter((scope) => scope !== 'personas:write'),
  );
  for (const kept of ['name', 'expires_at', 'all_projects', 'allowed_cidrs'])
    assert.deepEqual(changed[kept], made[kept], kept);
});

test('a key refused during use leads to the sign-in form', async () => {
  const key = await make({ name: 'in use', preset: 'read_only' });
  const page = await open(browser, server);
  await signIn(page, key.key);
  await server.post(`/v1/keys/${key.id}/revoke`);
  await refused(key.key, 'revoked_api_key');
  await visit(page, '#/me');
  await page.getByLabel('API key').waitFor();
  assert.match(await page.getByRole('alert').innerText(), /revoked/);
  assert.ok(!(await everything(page)).includes(key.key));
});

test('a key sees and grants only what its scopes allow', async () => {
  const bound = await server.post('/v1/keys', {
    name: 'team',
    scopes: [
      'keys:read',
      'keys:write',
      'agents:read',
      'simulations:read',
      'conversations:read',
      'conversations:write',
    ],
    project_ids: [server.project.id],
    expires_in_days: 30,
  });
  const page = await open(browser, server);
  await signIn(page, bound.key);
  const views = await page.getByRole('navigation', { name: 'Views' }).getByRole('link').allInnerTexts();
  assert.deepEqual(views, ['Keys', 'Attention', 'Simulations', 'Batches']);
  await visit(page, '#/audit');
  assert.match(await page.getByRole('alert').innerText(), /audit:read/);

  await visit(page, '#/keys/new');
  assert.ok(await page.getByRole('checkbox', { name: 'agents:write' }).isDisabled());
  assert.ok(await page.getByRole('checkbox', { name: 'agents:read' }).isEnabled());
  assert.ok(await page.getByRole('button', { name: /^admin/ }).isDisabled());
  assert.ok(await page.getByRole('button', { name: /^worker/ }).isEnabled());
  assert.ok(await page.getByRole('radio', { name: /^All projects/ }).isDisabled());
  assert.ok(await page.getByRole('radio', { name: 'Never' }).isDisabled());
  assert.ok(Number(await page.getByLabel('Days until it expires').inputValue()) < 30);
  // The API checks what the page does not.
  await page.getByLabel('Name').fill('stronger');
  await page.getByRole('button', { name: /^worker/ }).click();
  await page.getByRole('group', { name: 'Projects' }).getByRole('checkbox').check();
  await page.getByLabel('Days until it expires').fill('3000');
  await page.getByRole('button', { name: 'Create key' }).click();
  assert.match(await page.getByRole('alert').innerText(), /no more rights than itself/);
});

test('a key without read scopes sees only itself', async () => {
  const made = await make({ name: 'writes only', scopes: ['conversations:write'] });
  const page = await open(browser, server);
  await signIn(page, made.key);
  await page.getByRole('heading', { name: 'This key' }).waitFor();
  assert.equal(await page.getByRole('navigation', { name: 'Views' }).getByRole('link').count(), 0);
});

test('an exceeded rate limit says how long to wait', async () => {
  const slow = await make({
    name: 'slow',
    preset: 'read_only',
    rate_limit: { requests: 3, window_seconds: 3600 },
  });
  const page = await open(browser, server);
  await signIn(page, slow.key);
  await eventually(async () => {
    await visit(page, '#/me');
    await visit(page, '#/simulations');
    return (await page.getByRole('alert').count()) > 0;
  }, 'the limit is reached');
  assert.match(await page.getByRole('alert').innerText(), /Try again in [\d,]+ seconds?\./);
  assert.ok(await page.getByRole('button', { name: 'Try again' }).isVisible());
});

test('keys are paged and filtered', async () => {
  for (let index = 0; index < 25; index += 1)
    await make({ name: `many ${index}`, preset: 'worker', expires_in_days: 400 });
  const soon = await make({ name: 'ends soon', preset: 'worker', expires_in_days: 2 });
  const off = await make({ name: 'switched off', preset: 'worker' });
  await server.post(`/v1/keys/${off.id}/disable`);
  const page = await signedIn();
  await visit(page, '#/keys');
  const rows = page.getByRole('table').getByRole('rowheader');
  assert.equal(await rows.count(), 20);
  await page.getByRole('link', { name: 'Next' }).click();
  await page.getByText('21 to').waitFor();
  assert.ok((await rows.count()) > 0);

  await visit(page, '#/keys');
  await page.getByLabel('Expires within days').fill('3');
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.getByRole('link', { name: soon.name }).waitFor();
  await page.getByRole('link', { name: 'many 24' }).waitFor({ state: 'detached' });
  // The focus stays on the button.
  assert.equal(await page.locator(':focus').innerText(), 'Filter');
  await page.getByRole('link', { name: 'Show all' }).click();
  await page.getByRole('link', { name: 'many 24' }).waitFor();
  await page.getByLabel('Status').selectOption('disabled');
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.getByRole('link', { name: off.name }).waitFor();
  await page.getByRole('link', { name: soon.name }).waitFor({ state: 'detached' });
});

// No key can be idle for 30 days here. A test of the command line ages keys in the database.
test('keys that need attention are listed', async () => {
  const forever = await make({ name: 'for good', preset: 'worker', never_expires: true });
  const ending = await make({ name: 'ending', scopes: ['projects:read'], expires_in_days: 5 });
  await server.call('GET', '/v1/projects', { key: ending.key });
  await eventually(
    async () => (await server.get(`/v1/keys/${ending.id}`)).used_scopes.length === 1,
    'the use is noted',
  );
  const page = await signedIn();
  await visit(page, '#/attention');
  const names = (title) => page.getByRole('table', { name: title }).getByRole('rowheader').allInnerTexts();
  const has = (list, { name }) => list.some((text) => text.includes(name));
  assert.ok(has(await names('Never expire'), forever) && !has(await names('Never expire'), ending));
  assert.ok(
    has(await names('Expire within 14 days'), ending) && !has(await names('Expire within 14 days'), forever),
  );
  const unused = await names('Have unused scopes');
  assert.ok(has(unused, forever) && !has(unused, ending), unused.join());
  assert.equal(await page.getByRole('table', { name: 'Idle for 30 days or more' }).count(), 0);
});

test('the audit trail shows changes of keys with hostile names', async () => {
  const key = await make({ name: HOSTILE, preset: 'worker' });
  await server.post(`/v1/keys/${key.id}/disable`);
  const page = await signedIn({ viewport: NARROW });
  await visit(page, '#/audit');
  const { data, head } = await server.get('/v1/audit?limit=20');
  assert.equal(data[0].action, 'disable_key');
  await page.getByText(head.hash).first().waitFor();
  const entry = page
    .getByRole('row')
    .filter({ has: page.getByRole('rowheader', { name: String(data[0].sequence), exact: true }) });
  assert.match(await entry.innerText(), /disable key/);
  await visit(page, `#/keys/${key.id}`);
  assert.equal(await page.getByRole('heading', { level: 1 }).innerText(), HOSTILE);
  await page.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('dialog').getByText(HOSTILE).waitFor();
  assert.equal(await page.locator('img, main script').count(), 0);
  assert.deepEqual(page.troubles, []);
});
