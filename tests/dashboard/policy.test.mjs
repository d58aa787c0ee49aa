// The Content-Security-Policy, and that texts never become markup.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { HOSTILE, Server, eventually, launch, open, signIn, visit } from './harness.mjs';

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test('the page has a strict policy and strict headers', async () => {
  const response = await fetch(server.url);
  const policy = response.headers.get('content-security-policy');
  const allowed = Object.fromEntries(
    policy.split('; ').map((part) => [part.split(' ')[0], part.split(' ').slice(1).join(' ')]),
  );
  assert.equal(allowed['default-src'], "'none'");
  assert.equal(allowed['connect-src'], "'self'");
  assert.equal(allowed['img-src'], 'data:');
  for (const name of ['base-uri', 'form-action', 'frame-ancestors']) assert.equal(allowed[name], "'none'");
  for (const name of ['script-src', 'style-src'])
    assert.match(allowed[name], /^'sha256-[\w+/=]{44}'( 'sha256-[\w+/=]{44}')*$/);
  assert.equal(allowed['require-trusted-types-for'], "'script'");
  assert.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.equal(response.headers.get('referrer-policy'), 'no-referrer');
  assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
  assert.equal(response.headers.get('x-frame-options'), 'DENY');
  assert.equal(response.headers.get('cache-control'), 'no-cache');
});

test('injected scripts, handlers and styles do nothing', async () => {
  const page = await open(browser, server);
  const injected =
    '<script>window.injected = 1</script><img src="x" onerror="window.injected = 2"><style>main { color: red }</style>';
  await page.route(`${server.url}/`, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace('</main>', `</main>${injected}`);
    await route.fulfill({ response, body });
  });
  await page.goto(server.url);
  assert.ok((await page.content()).includes('window.injected = 1'), 'the page has the injected script');
  const kinds = ['script-src', 'script-src-attr', 'style-src', 'img-src'];
  await eventually(
    () => page.troubles.length >= kinds.length,
    `all four violations are reported: ${page.troubles}`,
  );
  await signIn(page, server.key);
  assert.equal(await page.evaluate(() => window.injected), undefined);
  assert.notEqual(
    await page.evaluate(() => getComputedStyle(document.querySelector('main')).color),
    'rgb(255, 0, 0)',
  );
});

test('the page’s own scripts cannot make markup from text', async () => {
  const page = await open(browser, server);
  const allowed = await page.evaluate(() => {
    const attempts = {
      innerHTML: () => (document.getElementById('status').innerHTML = '<b>x</b>'),
      eval: () => (0, eval)('1 + 1'),
      attribute: () => h('a', { href: 'javascript:alert(1)' }),
      handler: () => h('p', { onclick: 'alert(1)' }),
    };
    // In a timer, because the policy does not apply to code that a debugger runs directly.
    return new Promise((resolve) => {
      setTimeout(() => {
        const isAllowed = ([, attempt]) => {
          try {
            attempt();
            return true;
          } catch {
            return false;
          }
        };
        resolve(
          Object.entries(attempts)
            .filter(isAllowed)
            .map(([name]) => name),
        );
      });
    });
  });
  assert.deepEqual(allowed, []);
});

test('hostile texts are shown as written', async () => {
  const { project, simulation, conversation } = await server.hostile();
  const page = await open(browser, server);
  await signIn(page, server.key);
  const views = ['#/simulations', `#/simulations/${project}`, `#/simulations/${project}/${simulation}`];
  for (const view of [...views, `#/simulations/${project}/${simulation}/${conversation}`]) {
    await visit(page, view);
    const text = await page.locator('main').innerText();
    assert.ok(text.includes('onerror=alert(1)'), `${view}: ${text}`);
    assert.equal(await page.locator('main img, main script').count(), 0, view);
  }
  assert.equal(await page.locator('mark').innerText(), '<img src=x onerror=alert(1)>');
  assert.ok((await page.getByText(`I have read ${HOSTILE} twice.`).count()) > 0);
  assert.deepEqual(page.troubles, []);
});
