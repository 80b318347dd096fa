/** The frames that Python wrote are the frames that the generated types describe. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { isCommand, isControl, isEvent } from '../protocol';

const FRAMES = JSON.parse(readFileSync(join(__dirname, '../../../tests/golden/frames.json'), 'utf-8')) as Record<
  'events' | 'control' | 'commands',
  string[]
>;

const GUARDS = { events: isEvent, control: isControl, commands: isCommand };

describe.each(Object.entries(GUARDS))('golden %s', (name, guard) => {
  const frames = FRAMES[name as keyof typeof FRAMES];

  it.each(frames)('%s', text => {
    const frame = JSON.parse(text) as Record<string, unknown>;
    expect(guard(frame)).toBe(true);
    expect(Object.values(GUARDS).filter(other => other(frame))).toEqual([guard]);
  });

  it('are refused without one of their fields, and of an unknown type', () => {
    for (const text of frames) {
      const frame = JSON.parse(text) as Record<string, unknown>;
      expect(guard({ ...frame, type: 'of_tomorrow' })).toBe(false);
      const { type, ...rest } = frame;
      expect(guard(rest)).toBe(false);
    }
  });
});

it('narrows to the fields of the type', () => {
  const texts = FRAMES.events.map(text => {
    const frame: unknown = JSON.parse(text);
    return isEvent(frame) && frame.type === 'agent_event' && frame.event.kind === 'text_delta'
      ? frame.event.content
      : '';
  });
  expect(texts.join('')).toContain('Zwölf Boxkämpfer 🥊');
});

it('does not take an agent event of an unknown kind, or with fields of another shape', () => {
  const frame = { ...JSON.parse(FRAMES.events[0] ?? '{}') };
  expect(isEvent(frame)).toBe(true);
  expect(isEvent({ ...frame, event: { kind: 'of_tomorrow', content: '' } })).toBe(false);
  expect(isEvent({ ...frame, event: { kind: 'text_delta', content: 7 } })).toBe(false);
  expect(isEvent({ ...frame, event: null })).toBe(false);
});
