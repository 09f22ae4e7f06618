--[[ Stands before the other scripts: writes that may be refused, and what then becomes of those before them.

Lua does not roll back. try(undo, command...) calls the command; where the server refuses it (a right that is
missing, a key of another type), what was tried before is taken back, newest first, and the script ends with
the server's error. `undo` makes of the command's answer the command that takes it back; nil for what may stay, and
for a command after which nothing is tried. done() is where what was tried so far is whole by itself.
append() adds an entry to a stream, push() a delivery to a lane; a lane that waits is not moved. ]]

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

local function append(stream, field, value)
  try(function(id) return {'XDEL', stream, id} end, 'XADD', stream, '*', field, value)
end

local function push(lanes, lane, key, now, delivery)
  try(function() return {'RPOP', lane} end, 'RPUSH', lane, delivery)
  try(function(added) return added == 1 and {'ZREM', lanes, key} or nil end, 'ZADD', lanes, 'NX', now, key)
end
