'use strict';

// What things are called and how they are written out: scopes, presets, statuses, times, counts.

const RESOURCES = [
  'projects',
  'agents',
  'objectives',
  'simulations',
  'personas',
  'conversations',
  'keys',
  'audit',
];

/** Every scope there is. The trail has nothing that could be written. */
const SCOPES = RESOURCES.flatMap((resource) =>
  resource === 'audit' ? ['audit:read'] : [`${resource}:read`, `${resource}:write`],
);

const both = (...resources) => resources.flatMap((resource) => [`${resource}:read`, `${resource}:write`]);

/** Names for sets of scopes, as the API has them, and whom each is for. */
const PRESETS = [
  {
    name: 'worker',
    about: 'An agent worker: holds conversations',
    scopes: ['agents:read', 'simulations:read', 'conversations:read', 'conversations:write'],
  },
  {
    name: 'ci',
    about: 'A pipeline: sets up, runs and reads simulations',
    scopes: ['projects:read', ...both('agents', 'objectives', 'simulations', 'personas', 'conversations')],
  },
  {
    name: 'monitor',
    about: 'A scheduled monitor: starts simulations and reads results',
    scopes: [
      'projects:read',
      'agents:read',
      'objectives:read',
      ...both('simulations'),
      'personas:read',
      'conversations:read',
    ],
  },
  {
    name: 'read_only',
    about: 'Reads everything but keys and the audit trail',
    scopes: SCOPES.filter((scope) => scope.endsWith(':read') && !['keys:read', 'audit:read'].includes(scope)),
  },
  { name: 'admin', about: 'Everything, other keys included', scopes: SCOPES },
];

/** The preset with exactly these scopes, if there is one. */
function presetOf(scopes) {
  const wanted = new Set(scopes);
  return PRESETS.find(
    (preset) => preset.scopes.length === wanted.size && preset.scopes.every((s) => wanted.has(s)),
  );
}

/** What to do about a refusal, where the API's own message leaves that to whoever asks. */
function advice(error) {
  const wait = error.retryAfter
    ? `Try again in ${count(error.retryAfter, 'second')}.`
    : 'Try again in a moment.';
  switch (error.code) {
    case 'unreachable':
      return 'Check the connection and whether the server runs, then try again.';
    case 'invalid_api_key':
      return 'Check that the whole key was copied, and that it belongs to this server.';
    case 'expired_api_key':
      return 'Paste the key that replaced it, or ask whoever manages the keys for a new one.';
    case 'inactive_api_key':
      return 'It may be disabled, or not valid yet. Ask whoever manages the keys.';
    case 'revoked_api_key':
      return 'This is final. Ask whoever manages the keys for a new one.';
    case 'wrong_address':
      return 'The key may be used from certain addresses only, and this is not one of them.';
    case 'insufficient_scope':
      return 'Use a key that has this scope, or have it added to this one.';
    case 'wrong_project':
      return 'Use a key that reaches it.';
    case 'exceeds_own_key':
      return 'A key can only make or change keys that are no stronger than itself.';
    case 'rate_limited':
    case 'auth_unavailable':
    case 'unavailable':
      return wait;
    default:
      return error.status >= 500 ? wait : null;
  }
}

/** Whether the same may well be answered if it is asked again. */
const isPassing = (error) => error.status === 0 || error.status === 429 || error.status >= 500;

/** `1 key`, `2 keys`. */
function count(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString('en')} ${number === 1 ? noun : plural}`;
}

/** A project's id. */
const PROJECT_ID = /^[A-Za-z0-9]{12}$/;

const percent = (share) => `${Math.round(share * 100)}%`;

/** `in_progress` as words. */
const plain = (word) => word.replaceAll('_', ' ');

/** With a capital in front, for messages of the API, which have none. */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });
const DATE_AND_TIME = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** `in 3 days`, `2 hours ago`. */
function fromNow(text) {
  const distance = new Date(text) - Date.now();
  const size = Math.abs(distance);
  if (size < MINUTE_MS) return distance < 0 ? 'just now' : 'in a moment';
  if (size < HOUR_MS) return RELATIVE.format(Math.round(distance / MINUTE_MS), 'minute');
  if (size < 2 * DAY_MS) return RELATIVE.format(Math.round(distance / HOUR_MS), 'hour');
  if (size < 120 * DAY_MS) return RELATIVE.format(Math.round(distance / DAY_MS), 'day');
  return RELATIVE.format(Math.round(distance / (30 * DAY_MS)), 'month');
}

/** How long a number of seconds is: `1 hour`. */
function duration(seconds) {
  const units = [
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ];
  const [unit, size] = units.find(([, length]) => seconds > 0 && seconds % length === 0) ?? ['second', 1];
  return count(seconds / size, unit);
}
