// What holds of every view: wide and narrow, in light and dark. The pictures are for people to look at.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { HOSTILE, NARROW, Server, WIDE, launch, open, picture, require, signIn, visit } from './harness.mjs';

const axe = require.resolve('axe-core/axe.min.js');

let server;
let browser;
let views;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  views = await furnish();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Makes keys in every state, and says which views there are. */
async function furnish() {
  const everywhere = { all_projects: true };
  const make = (body) => server.post('/v1/keys', body);
  const act = (key, action, body) => server.post(`/v1/keys/${key.id}/${action}`, body);
  const narrow = {
    allowed_cidrs: ['10.0.0.0/8', '127.0.0.0/8', '2001:db8::/32'],
    rate_limit: { requests: 100, window_seconds: 60 },
    metadata: { team: 'search', ticket: 'OPS-4711' },
  };
  const one = await make({
    name: 'Monitor of the order desk, every night at three',
    preset: 'monitor',
    ...everywhere,
    ...narrow,
  });
  const replaced = await make({
    name: 'Worker in the checkout’s pipeline',
    preset: 'worker',
    project_ids: [server.project.id],
  });
  await act(replaced, 'rotate', { overlap_seconds: 3600 });
  await server.call('GET', `/v1/agents?project_id=${server.project.id}`, { key: replaced.key });
  await act(await make({ name: 'Laptop of last year', preset: 'ci', ...everywhere }), 'revoke');
  await act(await make({ name: 'Batch of the archive', preset: 'read_only', ...everywhere }), 'disable');
  await make({
    name: 'Next quarter',
    preset: 'worker',
    ...everywhere,
    not_before: new Date(Date.now() + 6e8).toISOString(),
  });
  await make({ name: 'Made by hand', preset: 'admin', ...everywhere, never_expires: true });
  await make({ name: 'Trial', scopes: ['agents:read', 'agents:write'], ...everywhere, expires_in_days: 3 });
  await make({ name: HOSTILE, preset: 'worker', ...everywhere });
  await make({ name: 'W'.repeat(100), preset: 'worker', ...everywhere });
  await make({ name: 'narrow caller', preset: 'admin', ...everywhere, expires_in_days: 20 });

  const { project, simulation, conversation } = await server.hostile();
  const [demo] = (await server.get(`/v1/simulations?project_id=${server.project.id}`)).data;
  const held = (
    await server.get(`/v1/simulations/${demo.id}/conversations?limit=100&project_id=${server.project.id}`)
  ).data;
  const told = held.find((each) => each.evaluations.some(({ outcome }) => outcome === 'failed'));
  const press = (name) => async (page) => {
    await page.locator('main').getByRole('button', { name }).click();
    await page.getByRole('dialog').waitFor();
  };
  return [
    { name: 'keys', hash: '#/keys' },
    { name: 'keys-none', hash: '#/keys?status=expired&expiring_within_days=1' },
    { name: 'key', hash: `#/keys/${one.id}` },
    { name: 'key-replaced', hash: `#/keys/${replaced.id}` },
    { name: 'key-new', hash: '#/keys/new' },
    {
      name: 'key-new-wrong',
      hash: '#/keys/new',
      then: async (page) => {
        await page.getByText('Addresses, rate limit, start').click();
        await page.getByRole('button', { name: 'Create the key' }).click();
        await page.locator('.wrong:visible').first().waitFor();
      },
    },
    { name: 'key-change', hash: `#/keys/${one.id}/change` },
    { name: 'key-rotate', hash: `#/keys/${one.id}`, then: press('Rotate') },
    { name: 'key-revoke', hash: `#/keys/${one.id}`, then: press('Revoke') },
    { name: 'attention', hash: '#/attention' },
    { name: 'audit', hash: '#/audit', then: (page) => page.locator('td summary').first().click() },
    { name: 'me', hash: '#/me' },
    { name: 'projects', hash: '#/simulations' },
    { name: 'simulations', hash: `#/simulations/${server.project.id}` },
    { name: 'simulation', hash: `#/simulations/${server.project.id}/${demo.id}` },
    { name: 'conversation', hash: `#/simulations/${server.project.id}/${demo.id}/${told.id}` },
    { name: 'hostile-simulations', hash: `#/simulations/${project}` },
    { name: 'hostile-simulation', hash: `#/simulations/${project}/${simulation}` },
    { name: 'hostile-conversation', hash: `#/simulations/${project}/${simulation}/${conversation}` },
    { name: 'missing', hash: '#/keys/AAAAAAAAAAAA' },
  ];
}

/** Shows each view, signing in among them, and calls `look`. */
async function eachView(options, look) {
  const page = await open(browser, server, options);
  await look(page, 'sign-in');
  await signIn(page, server.key);
  for (const { name, hash, then } of views) {
    await visit(page, '#/me');
    await visit(page, hash);
    await then?.(page);
    await look(page, name);
  }
  await visit(page, '#/keys/new');
  await page.getByLabel('Name').fill('shown');
  await page.getByRole('button', { name: /^worker/ }).click();
  await page.getByRole('radio', { name: /^In all projects/ }).check();
  await page.getByRole('button', { name: 'Create the key' }).click();
  await page.getByRole('dialog').waitFor();
  await look(page, 'secret');
  await page.getByRole('button', { name: 'I have stored it' }).click();
  return page;
}

for (const [width, viewport] of Object.entries({ wide: WIDE, narrow: NARROW })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} and ${colorScheme}: nothing is wider than the screen, and nothing breaks the policy`, async () => {
      const page = await eachView({ viewport, colorScheme }, async (page, name) => {
        const [shown, room, inDialog] = await page.evaluate(() => {
          const dialog = document.querySelector('dialog');
          const { scrollWidth, clientWidth } = document.documentElement;
          return [scrollWidth, clientWidth, dialog ? dialog.scrollWidth - dialog.clientWidth : 0];
        });
        assert.ok(
          shown <= room && inDialog <= 0,
          `${name} is ${shown} wide, and there are ${room}; ${inDialog} in the dialog`,
        );
        await picture(page, `${name}-${width}-${colorScheme}`);
      });
      assert.deepEqual(page.troubles, []);
      const brightness = await page.evaluate(() => {
        const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
        return (red + green + blue) / 3;
      });
      assert.ok(colorScheme === 'light' ? brightness > 200 : brightness < 60, `${brightness}`);
    });

    // Without the policy, because what looks is a script that it does not know.
    test(`${width} and ${colorScheme}: axe finds nothing that would keep anybody out`, async () => {
      const found = [];
      await eachView({ viewport, colorScheme, bypassCSP: true }, async (page, name) => {
        if (!(await page.evaluate(() => 'axe' in window))) await page.addScriptTag({ path: axe });
        const { violations, passes } = await page.evaluate(() => axe.run(document));
        assert.ok(passes.length > 10, `${name}: it has looked`);
        for (const { id, help, nodes } of violations) found.push(`${name}: ${id}, ${help}: ${nodes[0].html}`);
      });
      assert.deepEqual(found, []);
    });
  }
}

test('a reader who wants no motion gets none', async () => {
  const page = await open(browser, server, { reducedMotion: 'reduce' });
  const durations = await page.evaluate(() =>
    Array.from(document.querySelectorAll('*'), (one) => getComputedStyle(one)).map((style) => [
      style.transitionDuration,
      style.animationName,
    ]),
  );
  assert.ok(durations.every(([transition, animation]) => transition === '0s' && animation === 'none'));
});

test('a view takes the focus to its title and says its name, and the content can be skipped to', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  for (const [link, title] of [
    ['Attention', 'Attention'],
    ['Audit', 'Audit'],
    ['Keys', 'Keys'],
  ]) {
    await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: link }).click();
    await page.getByRole('heading', { level: 1, name: title }).waitFor();
    assert.equal(await page.locator(':focus').innerText(), title);
    assert.equal(await page.title(), `${title} · OneRun`);
    assert.equal(await page.locator('nav [aria-current=page]').innerText(), link);
  }
  await page.getByRole('link', { name: 'Skip to the content' }).focus();
  await page.keyboard.press('Enter');
  assert.equal(await page.locator(':focus').innerText(), 'Keys');
});

for (const width of [768, 1280, 1920]) {
  test(`${width} pixels: nothing is wider than the screen, and names have room`, async () => {
    const viewport = { width, height: 900 };
    await eachView({ viewport }, async (page, name) => {
      const [shown, room, narrowest] = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        const names = document.querySelectorAll('table[role] tbody th:has(a)');
        const widths = Array.from(names, (one) => one.getBoundingClientRect().width);
        return [scrollWidth, clientWidth, Math.min(...widths, Infinity)];
      });
      assert.ok(shown <= room, `${name} is ${shown} wide, and there are ${room}`);
      assert.ok(narrowest >= 190, `${name}: a name has ${narrowest}`);
      await picture(page, `${name}-${width}`);
    });
  });
}
