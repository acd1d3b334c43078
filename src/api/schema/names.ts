import { z } from 'zod';

/** Names under which schemas appear in `components.schemas` of the OpenAPI and OpenRPC documents. */
export const schemaNames = z.registry<{ id: string }>();

/** Gives a schema its name; the same schema then becomes one component wherever it is used. */
export function named<S extends z.ZodType>(id: string, schema: S): S {
  schemaNames.add(schema, { id });
  return schema;
}
