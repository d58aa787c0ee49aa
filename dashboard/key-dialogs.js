'use strict';

// Dialogs that rotate and revoke a key, and the one that shows a new key.

/** Warns a user who is about to end the key in use. */
const ownKeyWarning = (key) =>
  key.id === api.caller.key_id &&
  warning('You are using this key here. When it ends, the dashboard asks for another one.');

async function switchKey(key, action, context) {
  try {
    await api.post(path`v1/keys/${key.id}/` + action);
  } catch (error) {
    failDialog(error);
    return;
  }
  announce(`Key ${key.name} is ${action}d.`);
  context.reload();
}

/** The handler of a button that sends requests, announces their success and shows the view again. */
const action = (context, words, send) => async (event) => {
  event.currentTarget.disabled = true;
  try {
    await send();
    announce(words);
  } catch (error) {
    if (context.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    failDialog(error);
  }
  context.reload();
};

/** Shows an error in a dialog, for actions that have no form. */
function failDialog(error) {
  // The page asks for another key already.
  if (error.status === 401) return;
  const dialog = openDialog({
    title: 'The action failed',
    content: [
      problem(error),
      h(
        'div.buttons',
        button('Close', () => dialog.close()),
      ),
    ],
  });
}

function revokeDialog(key, context) {
  const typed = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', autofocus: true });
  const form = apiForm({
    danger: true,
    submit: 'Revoke permanently',
    cancel: () => dialog.close(),
    content: [
      h(
        'p',
        'Every program that uses ',
        h('strong', key.name),
        ' is refused within seconds. You cannot undo this.',
      ),
      ownKeyWarning(key),
      field({
        label: 'To confirm, type the key’s name or id',
        control: typed,
        hint: [code(key.id)],
        pointers: ['confirm'],
      }),
    ],
    check: () => {
      const given = typed.value.trim();
      return given === key.name.trim() || given === key.id
        ? []
        : [['confirm', 'this is neither the name nor the id of the key']];
    },
    send: async () => {
      await api.post(path`v1/keys/${key.id}/revoke`);
      dialog.close();
      announce(`Key ${key.name} is revoked.`);
      context.reload();
    },
  });
  const dialog = openDialog({ title: 'Revoke this key?', content: form });
}

const OVERLAPS = [
  [0, 'No time: it stops at once'],
  [3600, '1 hour'],
  [86_400, '24 hours'],
  [604_800, '7 days'],
];

function rotateDialog(key) {
  const own = h('input.short', {
    type: 'number',
    min: 0,
    max: 604_800,
    inputmode: 'numeric',
    'aria-label': 'Seconds of overlap',
  });
  const content = [
    h(
      'p',
      'This creates a new key with the same rights. The old key works a while longer, so you can change your programs to the new one before it stops.',
    ),
    ownKeyWarning(key),
    group(
      { legend: 'How long the old key still works', pointers: ['overlap_seconds'] },
      OVERLAPS.map(([seconds, label]) => choice('overlap', seconds, label, { checked: seconds === 86_400 })),
      h(
        'div.choice-line',
        choice('overlap', 'own', 'Another time:'),
        own,
        h('span.muted', 'seconds, 7 days at most'),
      ),
      key.expires_at && h('p.hint', 'Not longer than its own expiry, ', fromNow(key.expires_at), '.'),
    ),
    expiryGroup({ keep: 'after the same time as the old key' }),
  ];
  own.addEventListener('input', () => {
    form.querySelector('input[name=overlap][value=own]').checked = true;
  });
  const chosen = () => form.querySelector('input[name=overlap]:checked').value;
  const keyOf = idempotency();
  const form = apiForm({
    submit: 'Rotate',
    cancel: () => dialog.close(),
    content,
    check: () => [
      ...(chosen() === 'own' && !isWhole(own.value, 0, 604_800)
        ? [['overlap_seconds', 'must be 0 to 604,800 seconds']]
        : []),
      ...checkExpiry(form),
    ],
    send: async () => {
      const body = {
        overlap_seconds: Number(chosen() === 'own' ? own.value : chosen()),
        ...readExpiry(form),
      };
      const made = await api.post(path`v1/keys/${key.id}/rotate`, { body, idempotencyKey: keyOf(body) });
      dialog.close();
      const left =
        body.overlap_seconds > 0
          ? `The old key works for another ${duration(body.overlap_seconds)} at most.`
          : 'The old key no longer works.';
      showSecret(made, { title: 'Your new key', remark: left });
    },
  });
  const dialog = openDialog({ title: `Rotate ${key.name}`, content: form });
}

/** Whether a text is a whole number within bounds. */
const isWhole = (text, least, most) =>
  /^\d+$/.test(text.trim()) && Number(text) >= least && Number(text) <= most;

/** Shows a new key, once. Closing the dialog removes the secret from the page. */
function showSecret(made, { title, remark = null }) {
  const leave = () => {
    // The key in use may have ended meanwhile.
    if (api.caller) goTo(api.may('keys:read') ? `#/keys/${encodeURIComponent(made.id)}` : '#/keys/new');
  };
  // A repeated request: only the first answer, which was lost, had the secret.
  if (!made.key) {
    const lost = openDialog({
      title: 'The key exists, but its secret is lost',
      content: [
        warning(
          'An earlier try created this key. Only that answer had the secret, and it did not arrive. Revoke the key and create another.',
        ),
        h('div.buttons', h('button.primary', { type: 'button', click: () => lost.close() }, 'Go to the key')),
      ],
      closed: leave,
    });
    return;
  }
  const secret = h('output.secret', made.key);
  const outcome = h('p.small', { role: 'status' });
  const copyIt = async () => {
    if (await copy(secret.textContent)) {
      outcome.textContent = 'Copied. The key stays in the clipboard until you copy something else.';
    } else {
      getSelection().selectAllChildren(secret);
      outcome.textContent =
        'The browser does not let this page copy. The key is selected: press Ctrl+C, or Cmd+C on a Mac.';
    }
  };
  const dialog = openDialog({
    title,
    stays: true,
    content: [
      h('p', h('strong', made.name)),
      warning('The key is shown only now. The server keeps no copy, so nobody can show it again.'),
      secret,
      outcome,
      remark && h('p', remark),
      h(
        'p.small.muted',
        'Store it where your program reads its secrets, for example ',
        code('ONERUN_API_KEY'),
        ', and never in a repository.',
      ),
      h(
        'div.buttons',
        h('button.primary', { type: 'button', autofocus: true, click: copyIt }, 'Copy'),
        button('I have stored it', () => dialog.close()),
      ),
    ],
    closed: () => {
      secret.textContent = '';
      made.key = null;
      leave();
    },
  });
}
