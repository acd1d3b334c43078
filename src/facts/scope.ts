/** Who a fact is for, widest last (facts.md). */
export const SCOPES = ['local', 'team', 'company', 'public'] as const;
export type FactScope = (typeof SCOPES)[number];

/** How the source knows what it claims; says nothing about how sure it is, nor about authority. */
export const BASES = ['observed', 'inferred', 'reported', 'declared'] as const;
export type Basis = (typeof BASES)[number];

/** Whether a value is to be read as content (default) or as an instruction, which takes a permission of its own. */
export const INTERPRETATIONS = ['content', 'instruction'] as const;
export type Interpretation = (typeof INTERPRETATIONS)[number];

export function isScope(text: unknown): text is FactScope {
  return (SCOPES as readonly unknown[]).includes(text);
}
