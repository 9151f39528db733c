-- audit_turn: whose turn it is to audit, and how far the walk over all jobs has come.
--
-- uses  ledger
-- KEYS  audit  HASH  by, until, cursor; pass|what, broken|what, mended|what → jobs
-- ARGV  auditor  str  a worker
--       hold_ms  int  how long the turn stays its own
--       cursor   str  how far it has come, 0 at the end of a walk; empty to begin its turn
--       looked   int  jobs it looked at since it last said
-- Returns the cursor from which to go on, or nothing when it is another's turn.
-- At the end of a walk what was found in it (`pass|`) becomes what is broken (`broken|`).
local row = redis.call('HMGET', audit, 'by', 'until', 'cursor')
if row[1] and row[1] ~= auditor and tonumber(row[2]) > now then return false end
redis.call('HSET', audit, 'by', auditor, 'until', now + hold_ms)
if cursor == '' then return row[3] or '0' end

redis.call('HSET', audit, 'cursor', cursor)
redis.call('HINCRBY', audit, 'pass|looked', looked)
if cursor == '0' then
  local rows = redis.call('HGETALL', audit)
  for i = 1, #rows, 2 do
    if string.sub(rows[i], 1, 7) == 'broken|' then redis.call('HDEL', audit, rows[i]) end
  end
  for i = 1, #rows, 2 do
    local what = string.match(rows[i], '^pass|(.*)$')
    if what then
      redis.call('HDEL', audit, rows[i])
      redis.call('HSET', audit, what == 'looked' and what or 'broken|' .. what, rows[i + 1])
    end
  end
  redis.call('HSET', audit, 'ended', now)
end
return cursor
