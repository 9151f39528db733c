-- callbacks_sweep: mend what no other script sees, one page of one endpoint's pending entries.
--
-- uses  ledger append callbacks
-- ARGV  endpoint  str  whose lane to look through
--       start     str  where the last page ended, - at first
--       count     int  pending entries to look at
-- Returns {mended, start of the next page or -}. Mended are pending entries without a lease (they
-- become deliverable), entries of callbacks that do not wait (dropped), and a lane that nobody
-- would look at (seated).
local stream, mended = callbacks_ .. endpoint, 0
if redis.call('EXISTS', stream) == 0 then return { 0, '-' } end
if redis.call('ZADD', callback_lanes, 'NX', now_text, endpoint) == 1 then mended = 1 end
local pending = redis.pcall('XPENDING', stream, 'couriers', start == '-' and '-' or '(' .. start, '+', count)
if pending.err then return { mended, '-' } end -- no group: the next take makes it

for _, row in ipairs(pending) do
  local entry = row[1]
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  local id = found and found[2][2]
  if not id or redis.call('HGET', callback_ .. id, 'status') ~= 'waiting' then
    let_go_of(endpoint, id or '', entry)
    mended = mended + 1
  elseif redis.call('ZADD', callback_leases, 'NX', now_text, lease_of(id, entry, endpoint)) == 1 then
    mended = mended + 1
  end
end
return { mended, #pending == tonumber(count) and pending[#pending][1] or '-' }
