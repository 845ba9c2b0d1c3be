// Package migrate has code for programs that move to plainjobs from River, asynq, backlite
// or goqite. The guides in docs show it. Its tests let each library create and fill its
// tables, and count what "plainjobs adopt" takes over. It is a separate module, so that
// plainjobs does not depend on these libraries.
package migrate
