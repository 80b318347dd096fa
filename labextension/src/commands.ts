/** The commands of this extension. */

export namespace CommandIDs {
  /** Puts what waits to the person, one after another; the argument `id` names what comes first. */
  export const answer = 'jupyter-agent:answer';
}
