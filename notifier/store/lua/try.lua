--[[ Stands before the other scripts: a write that may be refused, and what then becomes of those before it.

Lua does not roll back. try(undo, command...) calls the command; where the server refuses it (a right that is
missing, a key of another type), what was tried before is taken back, newest first, and the script ends with
the server's error. `undo` makes of the command's answer the command that takes it back; nil for what may stay, and
for a command after which nothing is tried. done() is where what was tried so far is whole by itself. ]]

local tried = {}

local function try(undo, ...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    for at = #tried, 1, -1 do redis.pcall(unpack(tried[at])) end
    error(answer.err, 0)
  end
  if undo then tried[#tried + 1] = undo(answer) end
  return answer
end

local function done() tried = {} end
