'use strict';

// Texts for scopes, presets, errors, times and counts.

const RESOURCES = [
  'projects',
  'agents',
  'objectives',
  'simulations',
  'personas',
  'conversations',
  'monitors',
  'webhooks',
  'keys',
  'audit',
];

/** All scopes. The audit trail is read-only. */
const SCOPES = RESOURCES.flatMap((resource) =>
  resource === 'audit' ? ['audit:read'] : [`${resource}:read`, `${resource}:write`],
);

const both = (...resources) => resources.flatMap((resource) => [`${resource}:read`, `${resource}:write`]);

/** The presets of the API: named sets of scopes. */
const PRESETS = [
  {
    name: 'worker',
    about: 'For an agent worker: holds conversations',
    scopes: ['agents:read', 'simulations:read', 'conversations:read', 'conversations:write'],
  },
  {
    name: 'ci',
    about: 'For a pipeline: creates, runs and reads simulations',
    scopes: [
      'projects:read',
      ...both('agents', 'objectives', 'simulations', 'personas', 'conversations'),
      'monitors:read',
    ],
  },
  {
    name: 'monitor',
    about: 'For monitoring: starts simulations, manages monitors and reads results',
    scopes: [
      'projects:read',
      'agents:read',
      'objectives:read',
      ...both('simulations'),
      'personas:read',
      'conversations:read',
      ...both('monitors'),
    ],
  },
  {
    name: 'read_only',
    about: 'Reads everything except webhooks, keys and the audit trail',
    scopes: SCOPES.filter(
      (scope) => scope.endsWith(':read') && !['webhooks:read', 'keys:read', 'audit:read'].includes(scope),
    ),
  },
  { name: 'admin', about: 'Does everything, including managing keys', scopes: SCOPES },
];

/** The preset with exactly these scopes, if any. */
function presetOf(scopes) {
  const wanted = new Set(scopes);
  return PRESETS.find(
    (preset) => preset.scopes.length === wanted.size && preset.scopes.every((s) => wanted.has(s)),
  );
}

/** A next step for an error whose message does not name one. */
function advice(error) {
  const wait = error.retryAfter
    ? `Try again in ${count(error.retryAfter, 'second')}.`
    : 'Try again in a moment.';
  switch (error.code) {
    case 'unreachable':
      return 'Check that the server is running and that you are connected, then try again.';
    case 'invalid_api_key':
      return 'Check that you copied the whole key, and that it belongs to this server.';
    case 'expired_api_key':
      return 'Paste the key that replaced it, or ask the person who manages the keys for a new one.';
    case 'inactive_api_key':
      return 'It may be disabled, or not valid yet. Ask the person who manages the keys.';
    case 'revoked_api_key':
      return 'This is final. Ask the person who manages the keys for a new one.';
    case 'wrong_address':
      return 'The key is limited to certain IP addresses, and yours is not one of them.';
    case 'insufficient_scope':
      return 'Use a key that has this scope, or ask for the scope to be added to this key.';
    case 'wrong_project':
      return 'Use a key that has access to this project.';
    case 'exceeds_own_key':
      return 'A key can only create or change keys that have no more rights than itself.';
    case 'rate_limited':
    case 'auth_unavailable':
    case 'unavailable':
      return wait;
    default:
      return error.status >= 500 ? wait : null;
  }
}

/** Whether trying again may help. */
const isPassing = (error) => error.status === 0 || error.status === 429 || error.status >= 500;

/** `1 key`, `2 keys`. */
function count(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString('en')} ${number === 1 ? noun : plural}`;
}

/** `once`, `2 times`. */
const timesInWords = (number) => (number === 1 ? 'once' : count(number, 'time'));

const PROJECT_ID = /^[A-Za-z0-9]{12}$/;

const percent = (share) => `${Math.round(share * 100)}%`;

/** Words for a name of the API: `in progress` for `in_progress`. */
const plain = (word) => word.replaceAll('_', ' ');

/** Starts a text with a capital letter, as messages of the API do not. */
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
  if (size < MINUTE_MS) return distance <= 0 ? 'just now' : 'in a moment';
  if (size < HOUR_MS) return RELATIVE.format(Math.round(distance / MINUTE_MS), 'minute');
  if (size < 2 * DAY_MS) return RELATIVE.format(Math.round(distance / HOUR_MS), 'hour');
  if (size < 120 * DAY_MS) return RELATIVE.format(Math.round(distance / DAY_MS), 'day');
  return RELATIVE.format(Math.round(distance / (30 * DAY_MS)), 'month');
}

/** A number of seconds in the largest unit that fits: `1 hour`. */
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
