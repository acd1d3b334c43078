/**
 * Which of two sessions survives when both peers opened one at the same moment: the one of the smaller peer id, by the
 * order of the characters' codes. Both sides come to the same answer.
 *
 * @returns whether the session that `self` opened goes on; the other one is closed by its initiator
 */
export function ownSessionSurvives(self: string, peer: string): boolean {
  return self < peer;
}
